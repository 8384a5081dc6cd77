"""Patches: linear maps that stand in for what a skipped stage would have added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..errors import ConversionError
from ..planning import Patch
from .module_paths import patch_path
from .twins import Store, put

_HOME = "patches"
CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


def can_be_patched(shape: tuple[int, ...], channel_dim: int) -> bool:
    """Whether there is a linear layer over the channels of a value of this (batched) shape."""
    last = channel_dim % len(shape) == len(shape) - 1
    return last or (channel_dim == 1 and len(shape) in CONVOLUTIONS)


def set_patches(root: nn.Module, patches: Iterable[Patch]) -> None:
    """Put a fresh map for each patch into ``root``, in the place of those that it has.

    Raises:
        ConversionError: ``root`` has something else of that name.
    """
    if hasattr(root, _HOME) and not isinstance(root._modules.get(_HOME), Store):
        raise ConversionError(
            f"got a {type(root).__name__} with an attribute {_HOME!r}; expected that name to be "
            "free for the maps at the ends of skipped stages. Rename it"
        )
    root._modules.pop(_HOME, None)
    weight = next((p for p in root.parameters() if p.is_floating_point()), torch.empty(0))
    for patch in patches:
        put(root, patch_path(patch), fresh_patch(patch).to(weight.device, weight.dtype))


def fresh_patch(patch: Patch, device: str = "cpu") -> nn.Module:
    """A map that gives zeros, of torch's own layers.

    Of low rank it is two layers: the first starts at random, so that the second can learn.
    """
    kind: Any = nn.Linear
    size: tuple[int, ...] = ()
    if patch.channel_dim != patch.dims - 1:
        kind, size = CONVOLUTIONS[patch.dims], (1,)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        if patch.rank is None:
            layers = [kind(patch.channels, patch.channels, *size)]
        else:
            layers = [
                kind(patch.channels, patch.rank, *size, bias=False),
                kind(patch.rank, patch.channels, *size),
            ]
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


@torch.no_grad()
def write_map(module: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Let a patch be the map ``h -> weight @ h + bias``; of low rank, the nearest that it can be.

    Args:
        module: the patch, as :func:`fresh_patch` makes it.
        weight: ``(channels, channels)``, of the patch's rank.
        bias: ``(channels,)``.
    """
    if isinstance(module, nn.Sequential):
        layers: list[Any] = list(module)
        down, up = layers
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        scale = values[: down.weight.shape[0]].sqrt()
        _copy(down.weight, scale[:, None] * right[: len(scale)])
        _copy(up.weight, left[:, : len(scale)] * scale)
        _copy(up.bias, bias)
    else:
        _copy(module.weight, weight)
        _copy(module.bias, bias)


def _copy(target: Any, source: torch.Tensor) -> None:
    target.copy_(source.reshape(target.shape))
