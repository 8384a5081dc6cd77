"""From a word to a network: a timm name or ``package.module:callable``.

A class of transformers takes a config, which no word can give: for it, the arguments are the
config's fields.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from . import zoo
from .errors import ModelError, SubpathError


def constructor(name: str, arguments: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """What makes the network called ``name``; a callable's module is imported at once.

    Raises:
        ModelError: the module cannot be imported or does not hold the callable.
    """
    if ":" not in name:
        return partial(zoo.create_model, name, **arguments)
    return partial(_call, name, _imported(name), arguments)


def _imported(name: str) -> Any:
    module_name, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code
        raise ModelError(
            f"got the model {name!r}, but importing {module_name!r} failed: "
            f"{type(error).__name__}: {error}. Expected a module that Python can import from here"
        ) from error
    for attribute in path.split("."):
        if not hasattr(value, attribute):
            raise ModelError(
                f"got the model {name!r}, but {module_name} has no {path!r}; expected "
                "package.module:callable, a callable that returns the network"
            )
        value = getattr(value, attribute)
    return value


def _call(name: str, made_by: Any, arguments: Mapping[str, Any]) -> nn.Module:
    if isinstance(made_by, nn.Module):
        return made_by
    try:
        own = copy.deepcopy(dict(arguments))  # some change the lists they are given
        config = _config_class(made_by)
        model = made_by(**own) if config is None else made_by(_config(name, config, own))
    except SubpathError:
        raise
    except Exception as error:  # the user's own code
        raise ModelError(
            f"got an error from {name}({_shown(arguments)}): {type(error).__name__}: {error}. "
            "Expected a callable that returns the network; give it the arguments it takes"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"got a {type(model).__name__} from {name}; expected a torch.nn.Module")
    return model


def _config_class(made_by: Any) -> type | None:
    """The class of the one thing that a class of transformers is made from."""
    config = getattr(made_by, "config_class", None)
    if not (isinstance(made_by, type) and isinstance(config, type)):
        return None
    first = next(iter(inspect.signature(made_by).parameters), None)
    return config if first == "config" else None


def _config(name: str, config_class: type, fields: Mapping[str, Any]) -> Any:
    """A config with these fields; a config itself takes any name without a word."""
    known = _fields(config_class)
    unknown = [field for field in fields if field not in known]
    if unknown and known:
        near = difflib.get_close_matches(unknown[0], known, n=4)
        hint = f"; near {unknown[0]}: {', '.join(near)}" if near else ""
        raise ModelError(
            f"got {', '.join(unknown)} for {name}; expected fields of its "
            f"{config_class.__name__}{hint}"
        )
    return config_class(**fields)


def _fields(config_class: type) -> set[str]:
    """What a config knows; nothing if it cannot be made without parts of its own."""
    try:
        config = config_class()
    except Exception:  # the library's own code
        return set()
    return {*dir(config), *getattr(config, "attribute_map", ())}


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
