"""Read a network, in one of two ways, and find out which of its modules are norms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from .behaviour import is_normalisation
from .inputs import Inputs
from .module_calls import CallTree
from .record import record
from .residual import ResidualGraph
from .trace import is_torch_layer, trace


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
    norms = _norms(model)

    def is_leaf(path: str, module: nn.Module) -> bool:
        return path in norms or is_torch_layer(module)

    traced = trace(model, inputs, is_leaf, opaque_functions)
    return Reading(CallTree(ResidualGraph(traced, dict(model.named_modules()))), norms)


def read_run(model: nn.Module, inputs: Inputs) -> Reading:
    """Run a copy of ``model`` once and write down what it does.

    Torch's own layers are opened too where they hold several others (``nn.TransformerEncoder``).

    Raises:
        TraceError: the model does not run on these inputs.
    """
    norms = _norms(model)

    def is_leaf(path: str, module: nn.Module) -> bool:
        return path in norms or (is_torch_layer(module) and not _holds_several(module))

    recorded = record(model, inputs, is_leaf)
    return Reading(CallTree(ResidualGraph(recorded, dict(model.named_modules()))), norms)


def _holds_several(module: nn.Module) -> bool:
    """Whether there is more inside than one module (attention has its last layer there)."""
    inside = (path for path, _ in module.named_modules() if path)
    return sum(not path.startswith("parametrizations") for path in inside) > 1


def _norms(model: nn.Module) -> frozenset[str]:
    modules = model.named_modules()
    return frozenset(path for path, module in modules if path and is_normalisation(module))


def read_opened(
    model: nn.Module,
    inputs: tuple[Any, ...],
    opened: Collection[str],
    opaque_functions: Collection[Callable[..., Any]] = (),
) -> tuple[CallTree, CallTree]:
    """Trace ``model`` in eval and in train mode with only the modules at ``opened`` opened.

    What an opened forward makes of ``self.training`` is fixed by tracing, so each mode has a graph
    of its own; where both say the same, the same object is returned twice.

    Raises:
        TraceError: the model's own forward cannot be traced or run.
    """
    opened, modules = frozenset(opened), dict(model.named_modules())

    def is_leaf(path: str, module: nn.Module) -> bool:
        return path not in opened

    evaluating = trace(model, inputs, is_leaf, opaque_functions)
    training = trace(model, inputs, is_leaf, opaque_functions, training=True, earlier=evaluating)
    tree = CallTree(ResidualGraph(evaluating, modules))
    same = training is evaluating
    return tree, tree if same else CallTree(ResidualGraph(training, modules))
