"""Gradient checkpointing: stages are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from ..skip import SkipConfig
from .codegen import compile_forward
from .folding import Returns, fold
from .gates import GatedGraph


@dataclass(frozen=True)
class _Part:
    """Some nodes in a row: a function of ``takes`` that returns ``gives``."""

    run: Callable[..., Any]
    takes: tuple[fx.Node, ...]
    gives: tuple[fx.Node, ...]
    modules: tuple[str, ...]


def recomputed_forward(
    module: nn.Module, gated: GatedGraph, config: SkipConfig, returns: Returns
) -> Any:
    """A function as ``compile_forward`` makes it, that keeps the stages' outputs alone.

    What lies between two of them is computed again in the backward pass. Running statistics count
    a batch once all the same.
    """
    graph = fold(gated, config, "features" if returns == "features" else "both")
    result: Any = graph.output_node().args[0]
    ends = result if returns == "features" else result[1]
    parts = _cut(module, graph, _boundaries(graph, gated, set(ends)))
    returned = result[0] if returns == "output" else result
    inputs = list(graph.find_nodes(op="placeholder"))

    def forward(root: nn.Module, *given: Any) -> Any:
        values = dict(zip(inputs, given, strict=True))
        for part in parts:
            got = _checkpointed(root, part, [values[node] for node in part.takes])
            values.update(zip(part.gives, got, strict=True))
        return fx.node.map_arg(returned, values.__getitem__)

    return forward


def _checkpointed(root: nn.Module, part: _Part, given: Sequence[Any]) -> Any:
    modules = [root.get_submodule(path) for path in part.modules]
    return checkpoint(
        part.run,
        root,
        *given,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _statistics_kept(modules)),
    )


def _boundaries(
    graph: fx.Graph, gated: GatedGraph, ends: Collection[fx.Node]
) -> frozenset[fx.Node]:
    """The ends of parts: none where a later node writes into what is kept until then."""
    facts = {node.name: fact for node, fact in gated.facts.items()}
    written: set[int] = set()
    found: set[fx.Node] = set()
    before = [s for n in graph.nodes if n.name in facts for s in facts[n.name].storages]
    for node in reversed(graph.nodes):
        if node in ends and written.isdisjoint(before):
            found.add(node)
        if node.name in facts:
            written |= facts[node.name].writes
            for _ in facts[node.name].storages:
                before.pop()
    return frozenset(found)


def _cut(module: nn.Module, graph: fx.Graph, boundaries: Collection[fx.Node]) -> list[_Part]:
    groups: list[list[fx.Node]] = [[]]
    for node in graph.nodes:
        if node.op not in ("placeholder", "output"):
            groups[-1].append(node)
        if node in boundaries:
            groups.append([])
    return [_part(module, group) for group in groups if group]


def _part(module: nn.Module, group: Sequence[fx.Node]) -> _Part:
    inside = set(group)
    takes = dict.fromkeys(p for n in group for p in n.all_input_nodes if p not in inside)
    gives = tuple(n for n in group if not inside.issuperset(n.users))
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in takes}
    for node in group:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in gives))
    modules = tuple(str(node.target) for node in group if node.op == "call_module")
    return _Part(compile_forward(graph, module), tuple(takes), gives, modules)


@contextmanager
def _statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Running statistics count a batch once, though it passes twice."""
    before = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
