"""From a YAML file and ``key.path=value`` overrides to a checked recipe."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .. import recipes
from ..errors import RecipeError
from .recipe import Recipe
from .tasks import TASKS, recipe_class


def read_recipe(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file, or the name of a recipe that comes with the library (``quickstart``;
            ``subpath recipes`` lists them).
        overrides: ``key.path=value``, the value in YAML; they replace what the file says.

    Raises:
        RecipeError: the file is missing or no YAML, or keys or values are wrong; all of these are
            listed, each with its key path.
    """
    path = Path(path)
    data = _parse(_text(path), str(path))
    for override in overrides:
        _override(data, override)
    recipe = check_recipe(data, str(path))
    return recipe if recipe.name else recipe.model_copy(update={"name": path.stem})


def check_recipe(data: Mapping[str, Any], source: str = "the recipe") -> Recipe:
    """Check a recipe given as plain dicts.

    Raises:
        RecipeError: keys or values are wrong; all are listed.
    """
    task = data.get("task", "image_classification")
    kind = recipe_class(task) if task in TASKS else Recipe
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [_problem(details, kind) for details in error.errors()]
        raise RecipeError(
            f"got {len(problems)} problem{'s' * (len(problems) > 1)} in {source}:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        ) from error


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, with every default filled in."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads ``1e-3`` as a number and refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


# YAML 1.1, which PyYAML reads, takes 1e-3 for a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _text(path: Path) -> str:
    """What is in the file, or in the recipe of that name."""
    if path.name == str(path) and not path.suffix and not path.is_file():
        return recipes.find(str(path)).text
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"got the recipe {path}, which cannot be read ({error}); expected a YAML file, or the "
            f"name of a recipe that comes with subpath: {', '.join(recipes.names())}"
        ) from error


def _parse(text: str, source: str) -> dict[str, Any]:
    data = _yaml(text, source)
    if not isinstance(data, dict):
        raise RecipeError(
            f"got {source} with a {type(data).__name__} at the top; expected a mapping with the "
            f"keys {', '.join(Recipe.model_fields)}"
        )
    return data


def _yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise RecipeError(f"got {source}, which is not YAML: {error}") from error


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise RecipeError(
            f"got --set {override}; expected key.path=value, for example finetune.epochs=5"
        )
    place = data
    for depth, key in enumerate(keys[:-1]):
        inner = place.get(key)
        if inner is None:
            inner = place[key] = {}
        if not isinstance(inner, dict):
            raise RecipeError(
                f"got --set {override}, but {'.'.join(keys[: depth + 1])} is {inner!r}; expected a "
                "section with keys of its own"
            )
        place = inner
    place[keys[-1]] = _yaml(text, f"--set {override}")


def _problem(details: ErrorDetails, made: type[Recipe]) -> str:
    """One line: key path, what was got, what was expected."""
    location = [part for part in details["loc"] if not _is_internal(part)]
    path = ".".join(str(part) for part in location) or "the recipe"
    kind = details["type"]
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1], made)
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(known)}"
        return f"{path}: unknown key{hint}"
    if kind == "missing":
        return f"{path}: missing; it has no default"
    message = details["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "expected").replace("a valid tuple", "a list")
    got = "" if isinstance(details["input"], (dict, BaseModel)) else f"got {details['input']!r}; "
    return f"{path}: {got}{message}"


def _is_internal(part: int | str) -> bool:
    """Whether pydantic, not the user, put ``part`` into a location (branches of a union)."""
    return isinstance(part, str) and ("[" in part or "(" in part)


def _known_keys(location: Iterable[int | str], kind: type[Recipe]) -> list[str]:
    section: Any = kind
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        inside = [annotation, *getattr(annotation, "__args__", ())]
        section = next(a for a in inside if isinstance(a, type) and issubclass(a, BaseModel))
    return list(section.model_fields)
