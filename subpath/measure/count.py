"""Count the multiply-adds of one module, and of each node of a traced graph, with fvcore."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import MeasureError
from .fvcore_quietly import FlopCountAnalysis
from .operators import HANDLES, NO_ARITHMETIC


@dataclass(frozen=True)
class Count:
    """What one forward pass costs.

    Attributes:
        macs: multiply-adds of the whole pass (one multiply-add is one).
        by_operator: the same for each operator.
        uncounted: operators that add nothing to ``macs``, with how often they are called:
            element-wise arithmetic, activations, softmax, and what has no formula.
    """

    macs: int
    by_operator: Mapping[str, int]
    uncounted: Mapping[str, int]


def count(module: nn.Module, inputs: tuple[Any, ...]) -> Count:
    """Count one forward pass of ``module`` in eval mode for these inputs.

    Shapes alone matter: the pass runs on a copy with zeros for weights, so ``module`` may be on
    any device, also ``meta``, and is left as it was.

    Raises:
        MeasureError: the module cannot be run or traced by torch.jit.
    """
    return _total(_analyse(_zero_copy(module).eval(), inputs))


def count_nodes(
    root: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...]
) -> tuple[Count, dict[str, int]]:
    """Count one pass of a graph over ``root``, in all and for each node by its name.

    Raises:
        MeasureError: the graph cannot be run or traced by torch.jit.
    """
    run = _NodeByNode(_zero_copy(root).eval(), graph)
    analysis = _analyse(run, inputs)
    by_module = analysis.by_module()
    by_node = {
        node.name: int(by_module[f"nodes.{number}"]) for number, node in enumerate(graph.nodes)
    }
    return _total(analysis), by_node


class _NodeByNode(nn.Module):
    """Runs a graph so that each node is a module of its own, as fvcore attributes by module."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        self.root = root
        self.nodes = nn.ModuleList(_Node(node) for node in graph.nodes)
        self._graph = graph

    def forward(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        calls = {step.node: step for step in self.nodes}
        output = _Caller(self.root, self._graph, calls).run(*inputs)
        return tuple(_tensors(output))


class _Node(nn.Module):
    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        self.node = node

    def forward(self, caller: _Caller) -> Any:
        return fx.Interpreter.run_node(caller, self.node)


class _Caller(fx.Interpreter):
    def __init__(self, root: nn.Module, graph: fx.Graph, calls: Mapping[Any, Any]) -> None:
        super().__init__(root, graph=graph)
        self._calls = calls

    def run_node(self, n: fx.Node) -> Any:
        return self._calls[n](self)


def _analyse(module: nn.Module, inputs: tuple[Any, ...]) -> FlopCountAnalysis:
    analysis = FlopCountAnalysis(module, inputs).set_op_handle(**HANDLES)
    analysis.set_op_handle(**dict.fromkeys(NO_ARITHMETIC))
    # By caller: what runs inside a node's module counts for that node, whoever owns it.
    analysis.ancestor_mode("caller").tracer_warnings("none")
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    try:
        with torch.no_grad(), _plain_attention():
            analysis.total()
    except Exception as error:  # the network's own code runs here
        raise MeasureError(
            f"got an error while counting multiply-adds: {type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}. Expected a network that torch.jit can "
            "trace on a CPU for the example input"
        ) from error
    return analysis


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Without the fused kernel of ``nn.MultiheadAttention``, which hides all its products."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _total(analysis: FlopCountAnalysis) -> Count:
    by_operator = {name: int(macs) for name, macs in analysis.by_operator().items() if macs}
    uncounted = analysis.unsupported_ops()
    return Count(
        macs=sum(by_operator.values()),
        by_operator=dict(Counter(by_operator).most_common()),
        uncounted=dict(sorted((_plain_name(kind), n) for kind, n in uncounted.items())),
    )


def _plain_name(kind: str) -> str:
    return kind.removeprefix("aten::")


def _zero_copy(module: nn.Module) -> nn.Module:
    """A copy on the CPU with zeros for parameters: memory that is never touched costs nothing.

    A copy because fvcore leaves its hooks behind when a trace fails. Buffers keep their values,
    which may be indices or sizes, unless they are on the meta device.
    """
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if isinstance(tensor, nn.Parameter):
            zeros = torch.zeros(tensor.shape, dtype=tensor.dtype)
            memo[id(tensor)] = nn.Parameter(zeros, requires_grad=False)
        elif tensor.is_meta:
            memo[id(tensor)] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        else:
            memo[id(tensor)] = tensor.detach().cpu().clone()
    return copy.deepcopy(module, memo)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
