"""Everything that knows timm."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..graph.inputs import Inputs


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


def made_with(model: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments that make a timm model again, as timm recorded them.

    ``None`` for other models, and where an older timm recorded none.
    """
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, dict) or "timm" not in sys.modules:
        return None
    import timm

    recorded = getattr(timm.models, "get_model_args", None)
    given, name = getattr(model, "_model_args", None), str(config.get("architecture"))
    if recorded is None or given is None or not timm.is_model(name):
        return None
    # timm leaves them out, but who trains on needs them.
    rates = {key: value for key, value in given.items() if key.endswith("_rate")}
    usual, tag = timm.get_pretrained_cfg(name), config.get("tag")
    if (
        tag
        and (usual is None or usual.tag != tag)
        and timm.models.is_model_pretrained(f"{name}.{tag}")
    ):
        name = f"{name}.{tag}"  # its data config: size, mean and deviation
    return name, recorded(model, rates)


def recomputes(model: nn.Module, opened: Iterable[str]) -> bool:
    """Whether timm's gradient checkpointing is on in a forward that is traced through.

    Tracing leaves it out; modules that are called whole keep their own.
    """
    paths = ("", *opened)
    return any(getattr(model.get_submodule(p), "grad_checkpointing", False) is True for p in paths)


class Timm:
    """timm's networks, as a :class:`subpath.zoo.library.Library`."""

    name = "timm"
    small = False
    size_arguments: tuple[str, ...] = ("img_size",)
    demanding: Mapping[str, Any] = {
        "drop_rate": 0.2,
        "drop_path_rate": 0.2,
        "proj_drop_rate": 0.2,
        "attn_drop_rate": 0.2,
        "dynamic_img_size": True,
        "strict_img_size": False,
    }

    @property
    def version(self) -> str:
        return version("timm")

    def names(self) -> list[str]:
        import timm

        return list(timm.list_models())

    def family(self, name: str) -> str:
        return self._families[name]

    def part(self, name: str) -> str:
        return ""

    def make(self, name: str, **arguments: Any) -> nn.Module:
        return create_model(name, **arguments)

    def inputs(self, name: str, model: nn.Module) -> Inputs:
        size = input_size(model)
        assert size is not None
        return Inputs((torch.empty(2, *size),))

    @cached_property
    def _families(self) -> Mapping[str, str]:
        import timm

        return {
            n: module for module in timm.list_modules() for n in timm.list_models(module=module)
        }
