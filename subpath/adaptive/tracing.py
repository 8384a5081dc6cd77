"""The gated graphs of a network for one set of input shapes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..graph.read import read_opened
from ..planning import Plan
from .codegen import dispatches
from .gates import GatedGraph
from .gating import add_gates

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Tracing:
    """How to make the gated graphs of a network: again and again if it decides by sizes.

    Attributes:
        plan: how the network is cut.
        example: the inputs of the conversion, without data.
        opaque_functions: functions that stay single calls.
    """

    plan: Plan
    example: tuple[Any, ...]
    opaque_functions: Collection[Callable[..., Any]] = ()

    def graphs(self, model: nn.Module, inputs: tuple[Any, ...]) -> dict[bool, GatedGraph]:
        """The gated graph of eval mode (``False``) and of train mode (``True``).

        Args:
            model: the network, with twin norms or without; it is not changed.
            inputs: example inputs, as :func:`subpath.convert` takes them.

        Raises:
            TraceError: the network cannot be traced or run.
            PlanError: a block or a norm of the plan is not there.
        """
        opened = self.plan.opened
        evaluating, training = read_opened(model, inputs, opened, self.opaque_functions)
        graph = add_gates(evaluating, self.plan)
        same = training is evaluating
        return {False: graph, True: graph if same else add_gates(training, self.plan)}


def add_constants(root: nn.Module, graphs: Mapping[bool, GatedGraph]) -> None:
    """Give ``root`` the tensors that its graphs read beside parameters and buffers."""
    for gated in graphs.values():
        for name, value in gated.constants.items():
            root.register_buffer(name, value, persistent=False)


@dispatches
def shapes_of(inputs: tuple[Any, ...]) -> Shapes:
    """The shape of each tensor in the inputs."""
    return tuple(_shapes(inputs, []))


@dispatches
def _shapes(value: Any, found: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    # No generator: torch.compile refuses one as a frame of its own.
    if isinstance(value, torch.Tensor):
        found.append(tuple(value.shape))
    elif isinstance(value, (tuple, list)):
        for item in value:
            _shapes(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            _shapes(item, found)
    return found


def check_shapes(graph: fx.Graph, inputs: tuple[Any, ...], any_batch: bool) -> None:
    """Let ``graph`` refuse inputs of other shapes than it was made for.

    Args:
        graph: a straight-line graph; it is changed.
        inputs: some that it was made for.
        any_batch: whether the first dimension may differ.
    """
    placeholders = list(graph.find_nodes(op="placeholder"))
    with graph.inserting_before(placeholders[-1].next):
        for node, value in zip(placeholders, inputs, strict=True):
            if isinstance(value, dict):
                for key, item in value.items():
                    _check_shape(
                        graph, graph.call_function(operator.getitem, (node, key)), item, any_batch
                    )
            else:
                _check_shape(graph, node, value, any_batch)


def _check_shape(graph: fx.Graph, node: fx.Node, value: Any, any_batch: bool) -> None:
    if not isinstance(value, torch.Tensor):
        return
    first, shape = (1 if any_batch else 0), tuple(value.shape)
    message = (
        f"expected inputs of the shape {list(shape)}"
        f"{', or with another batch size' if any_batch else ''}: this network decides by sizes, "
        "and its sub-network was made for these. Make another with "
        "subnet(skip, example_input=...)"
    )
    whole = graph.call_function(getattr, (node, "shape"))
    got = graph.call_function(operator.getitem, (whole, slice(first, None)))
    equal = graph.call_function(operator.eq, (got, shape[first:]))
    graph.call_function(torch._assert, (equal, message))
