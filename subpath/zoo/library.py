"""Libraries of networks: what each of them offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from ..graph.inputs import Inputs


class Library(Protocol):
    """A collection of networks, known by name."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def small(self) -> bool:
        """Whether its networks are made small, with a small input, or as they were published."""

    @property
    def size_arguments(self) -> tuple[str, ...]:
        """What its constructors call the height and width of their input."""

    @property
    def demanding(self) -> Mapping[str, Any]:
        """Arguments of theirs, each for some of them, that ask more of a conversion.

        Dropout, stochastic depth, inputs of any size.
        """

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

    def inputs(self, name: str, model: nn.Module) -> Inputs:
        """A batch of two of what the network was made for.

        For small networks the numbers are seeded; of others only the shapes are meant.
        """
