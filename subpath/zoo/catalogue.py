"""Libraries of which a list of networks is kept here, each made small."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..errors import ModelError
from ..graph.inputs import Inputs


@dataclass(frozen=True)
class Network:
    """How to make a network of a few narrow blocks, and what to call it with.

    Attributes:
        make: makes it, with the weights that the global seed gives.
        inputs: makes its inputs, the same each time.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]


@dataclass(frozen=True)
class Catalogue:
    """Small networks of one library, as a :class:`subpath.zoo.library.Library`.

    Nothing of the library is imported before a network is made.

    Attributes:
        name: of the library.
        module: what is imported of it.
        distribution: what is installed; empty for what comes with torch.
        networks: by name.
    """

    name: str
    module: str
    distribution: str
    networks: Mapping[str, Network]
    small: bool = True
    size_arguments: tuple[str, ...] = ()
    demanding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise self._missing(error) from error

    def names(self) -> list[str]:
        return list(self.networks)

    def family(self, name: str) -> str:
        return name

    def part(self, name: str) -> str:
        return ""

    def make(self, name: str, **arguments: Any) -> nn.Module:
        if name not in self.networks:
            raise ModelError(
                f"got the network {name!r}; expected one of {self.name}'s: "
                f"{', '.join(self.networks)}"
            )
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            raise self._missing(error) from error
        try:
            return self.networks[name].make(**arguments)
        except Exception as error:  # constructors fail in many ways
            raise ModelError(
                f"got an error while {self.name} made {name!r}: {type(error).__name__}: {error}. "
                f"Expected a release that has this network; {self.version} is installed"
            ) from error

    def inputs(self, name: str, model: nn.Module) -> Inputs:
        return self.networks[name].inputs()

    def _missing(self, error: ImportError) -> ModelError:
        return ModelError(
            f"got an error while importing {self.module} ({error}); expected it to be installed: "
            f"pip install {self.distribution}, or 'subpath[libraries]' for all such libraries"
        )
