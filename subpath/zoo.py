"""Everything that knows timm."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .errors import ModelError


def input_size(model: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width that a timm model was made for; ``None`` for other models.

    The data config tells what the pretrained weights were trained with; a model made with another
    ``img_size`` or ``in_chans`` says so in its layers.
    """
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, dict) or "timm" not in sys.modules:
        return None
    from timm.data import resolve_model_data_config

    channels, height, width = resolve_model_data_config(model)["input_size"]
    made_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if isinstance(made_for, tuple):
        height, width = made_for
    first = config.get("first_conv")
    if isinstance(first, str):
        weight = getattr(model.get_submodule(first), "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim == 4:
            # A space-to-depth stem (TResNet) folds 4 x 4 pixels into channels.
            stem = 16 if weight.shape[1] == 16 * channels else 1
            channels = weight.shape[1] // stem
    return int(channels), int(height), int(width)


def opaque_functions() -> tuple[Callable[..., Any], ...]:
    """Functions that timm registers as not to be traced (none while timm is not imported)."""
    if "timm" not in sys.modules:
        return ()
    from timm.models._features_fx import get_notrace_functions

    return tuple(get_notrace_functions())


def create_model(name: str, **arguments: Any) -> nn.Module:
    """``timm.create_model``, with errors that say what to try.

    Raises:
        ModelError: timm has no such model, or cannot make or download it.
    """
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=6)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ModelError(
            f"got the model name {name!r}; expected one of timm's {len(timm.list_models())} names "
            f"or package.module:callable{hint}"
        )
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except Exception as error:  # hubs, files and constructors fail in many ways
        raise ModelError(
            f"got an error while timm made {name!r} with {arguments}: {type(error).__name__}: "
            f"{error}. Without a network, use pretrained=False or a local checkpoint"
        ) from error
    return model


def example_inputs(model: nn.Module, example_input: Any = None) -> tuple[Any, ...]:
    """The inputs to trace a model with: those given, else an image batch from timm's data config.

    Raises:
        ModelError: nothing is given and the model is none of timm's.
    """
    if isinstance(example_input, (tuple, list)):
        return tuple(example_input)
    if example_input is not None:
        return (example_input,)
    size = input_size(model)
    if size is None:
        raise ModelError(
            f"got a {type(model).__name__} without a timm data config and no example_input; "
            "expected example_input=torch.zeros(2, 3, height, width), as the model takes it"
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return (torch.empty(2, *size, dtype=dtype),)
