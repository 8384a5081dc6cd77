"""Libraries of networks: what each of them offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn


class Library(Protocol):
    """A collection of networks, known by name.

    Attributes:
        name: its name.
        size_arguments: what its constructors call the height and width of their input.
        demanding: arguments of theirs, each for some of them, that ask more of a conversion:
            dropout, stochastic depth, inputs of any size.
    """

    name: str
    size_arguments: tuple[str, ...]
    demanding: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The version that is installed."""

    def names(self) -> list[str]:
        """All its networks."""

    def family(self, name: str) -> str:
        """The file that defines a network, without its ending."""

    def part(self, name: str) -> str:
        """Path of the module that stands for the network; empty for the whole of it."""

    def make(self, name: str, **arguments: Any) -> nn.Module:
        """The network, or the part that stands for it, without pretrained weights.

        Raises:
            ModelError: there is no such network, or it cannot be made.
        """

    def inputs(self, name: str, model: nn.Module) -> tuple[torch.Tensor, ...]:
        """A batch of two of what the network was made for."""
