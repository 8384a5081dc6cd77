"""The recipes that come with the library, found by name; no torch.

An installed package holds them beside this file. In a checkout they are in ``recipes/`` at the top.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ..errors import RecipeError


@dataclass(frozen=True)
class PackagedRecipe:
    """One of them.

    Attributes:
        name: to call it by, as ``quickstart``.
        text: the YAML, with its header of comments.
    """

    name: str
    text: str

    @property
    def title(self) -> str:
        """The first line of the header: what it trains, on what."""
        return self.text.partition("\n")[0].removeprefix("# ").rstrip(".")


def names() -> list[str]:
    """All of them, in alphabetical order."""
    found = (Path(file.name) for file in _folder().iterdir())
    return sorted(path.stem for path in found if path.suffix == ".yaml")


def find(name: str) -> PackagedRecipe:
    """The recipe of this name.

    Raises:
        RecipeError: there is none.
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        raise RecipeError(f"got the recipe {name!r}, which does not come with subpath; {hint}")
    return PackagedRecipe(name, (_folder() / f"{name}.yaml").read_text(encoding="utf-8"))


def copy(name: str, directory: str | os.PathLike[str] = ".") -> Path:
    """Write the recipe to ``<directory>/<name>.yaml``, to be changed there.

    Args:
        name: of the recipe.
        directory: made if it does not exist.

    Returns:
        The path of the new file.

    Raises:
        RecipeError: there is no such recipe, or the file exists or cannot be written.
    """
    recipe = find(name)
    path = Path(directory) / f"{name}.yaml"
    if path.exists():
        raise RecipeError(
            f"got {path}, which exists; expected a new file. Name another directory, or move the "
            "file away"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(recipe.text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"got {path}, which cannot be written: {error}") from error
    return path


def _folder() -> Traversable:
    packaged = resources.files(__name__)
    if any(file.name.endswith(".yaml") for file in packaged.iterdir()):
        return packaged
    return Path(__file__).parents[2] / "recipes"
