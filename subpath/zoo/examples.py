"""Small example inputs: seeded noise in the forms that networks take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..graph.inputs import Inputs

VOCABULARY = 99


def noise(*shape: int) -> Tensor:
    """Normal noise, the same for each shape."""
    return torch.randn(shape, generator=_generator())


def positive(*shape: int) -> Tensor:
    """Numbers between 0 and 1."""
    return torch.rand(shape, generator=_generator())


def tokens(batch: int = 2, length: int = 12) -> Tensor:
    """Numbers of words, of which none is a special one."""
    return torch.randint(5, VOCABULARY, (batch, length), generator=_generator())


def padded(batch: int = 2, length: int = 12) -> Tensor:
    """A mask: the last sample is shorter by a quarter, the others are whole."""
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, -(length // 4) :] = 0
    return mask


def image(size: int = 32, channels: int = 3) -> Callable[[], Inputs]:
    """Makes a batch of two images."""
    return lambda: Inputs((noise(2, channels, size, size),))


def given(*make: Callable[[], Any]) -> Callable[[], Inputs]:
    """Makes positional inputs."""
    return lambda: Inputs(tuple(one() for one in make))


def named(**make: Callable[[], Any]) -> Callable[[], Inputs]:
    """Makes inputs by name."""
    return lambda: Inputs((), {name: one() for name, one in make.items()})


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)
