"""Read a network: trace everything that can be opened, and find out which modules are norms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from .behaviour import is_normalisation
from .blocks import CallTree
from .residual import ResidualGraph
from .trace import trace


@dataclass(frozen=True)
class Reading:
    """What a network looks like from the inside.

    Attributes:
        tree: its calls and residual units.
        norms: paths of its normalisation layers.
    """

    tree: CallTree
    norms: frozenset[str]


def read(
    model: nn.Module,
    inputs: tuple[Any, ...],
    opaque_functions: Collection[Callable[..., Any]] = (),
) -> Reading:
    """Trace ``model`` with everything opened but norms and torch's own layers.

    Raises:
        TraceError: the model's own forward cannot be traced or run.
    """
    modules = dict(model.named_modules())
    norms = frozenset(path for path, module in modules.items() if path and is_normalisation(module))

    def is_leaf(path: str, module: nn.Module) -> bool:
        return path in norms or is_torch_layer(module)

    traced = trace(model, inputs, is_leaf, opaque_functions)
    return Reading(CallTree(ResidualGraph(traced, modules)), norms)


def read_opened(
    model: nn.Module,
    inputs: tuple[Any, ...],
    opened: Collection[str],
    opaque_functions: Collection[Callable[..., Any]] = (),
    training: bool = False,
) -> CallTree:
    """Trace ``model`` with only the modules at the paths ``opened`` opened.

    Raises:
        TraceError: the model's own forward cannot be traced or run.
    """
    opened = frozenset(opened)
    traced = trace(
        model, inputs, lambda path, _: path not in opened, opaque_functions, training
    )
    return CallTree(ResidualGraph(traced, dict(model.named_modules())))


def is_torch_layer(module: nn.Module) -> bool:
    """Whether ``module`` is one of torch's own layers, which are called whole."""
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, containers)
