"""From a word on the command line to a network: a timm name or ``package.module:callable``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .. import zoo
from ..errors import MeasureError, ModelError, SubpathError, TraceError

Result = TypeVar("Result")


def maker(name: str, arguments: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """What makes the network called ``name``; a callable's module is imported at once.

    Raises:
        ModelError: the module cannot be imported or does not hold the callable.
    """
    if ":" not in name:
        return partial(zoo.create_model, name, **arguments)
    return partial(_call, name, _imported(name), arguments)


def without_weights(make: Callable[[], nn.Module], use: Callable[[nn.Module], Result]) -> Result:
    """``use(make())`` on the meta device, or with real weights if the network does not allow it.

    Networks without data are made and traced quickly whatever their size, but some compute with
    values while they are made or run.
    """
    try:
        with torch.device("meta"):
            model = make()
        return use(model)
    except (ModelError, TraceError, MeasureError):
        return use(make())


def example(model: nn.Module, input_size: Sequence[int] | None) -> torch.Tensor:
    """A batch of two inputs, of the size given or the one in timm's data config.

    Raises:
        ModelError: no size is known.
    """
    size = input_size or zoo.input_size(model)
    if size is None:
        raise ModelError(
            f"got a {type(model).__name__} whose input size is not known; expected --input-size "
            "C,H,W, for example --input-size 3,224,224"
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.zeros(2, *size, dtype=dtype)


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
        model = made_by(**arguments)
    except SubpathError:
        raise
    except Exception as error:  # the user's own code
        raise ModelError(
            f"got an error from {name}({_shown(arguments)}): {type(error).__name__}: {error}. "
            "Expected a callable that returns the network; give its arguments with --arg KEY=VALUE"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"got a {type(model).__name__} from {name}; expected a torch.nn.Module")
    return model


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
