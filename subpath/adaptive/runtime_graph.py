"""All skip configs in one graph: both sides of every choice, and a letter that takes one."""

from __future__ import annotations

import torch
from torch import fx

from .folding import add_patch, apply_addition, as_after_sum
from .gates import Gate, GatedGraph
from .module_paths import twin_path


def choosing_graph(gated: GatedGraph, stages: int) -> fx.Graph:
    """A graph without gates that takes one boolean scalar for each stage after its inputs.

    ``True`` is the letter ``T``. Where a gate or a twin norm was, ``torch.where`` takes one of two
    values that are both computed. So each call costs more than the super-net; it is for compilers
    that compute only what is taken (``subpath.export``).

    Args:
        gated: the annotated graph; it is not changed.
        stages: how many letters a skip config has.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(gated.graph, copies)
    graph.output(output)
    last = list(graph.find_nodes(op="placeholder"))[-1]
    letters = []
    for stage in range(stages):
        with graph.inserting_after(last):
            last = graph.placeholder(f"skip_{stage}")
        letters.append(last)
    for node, twin in gated.twins.items():
        norm = copies[node]
        with graph.inserting_after(norm):
            other = graph.call_module(twin_path(twin), norm.args, dict(norm.kwargs))
        copies[node] = _choose(graph, letters[twin.stage], other, norm, after=other)
    for node, addition in gated.additions.items():
        layer = copies[node]
        other = apply_addition(graph, layer, addition)
        copies[node] = _choose(graph, letters[addition.stage], other, layer, after=other)
    for gate in gated.gates:
        total = copies[gate.node]
        shortcut = _before_sums(graph, gate, gated, copies)
        last = total
        if gate in gated.patches:
            first = copies[gate.total]
            last = add_patch(graph, shortcut, gated.patches[gate], after=first)
            last = shortcut = as_after_sum(graph, gate, last, copies)
        copies[gate.node] = _choose(graph, letters[gate.stage], shortcut, total, after=last)
    return graph


def _choose(
    graph: fx.Graph, letter: fx.Node, skipped: fx.Node, kept: fx.Node, after: fx.Node
) -> fx.Node:
    with graph.inserting_after(after):
        chosen = graph.call_function(torch.where, (letter, skipped, kept))
    for value in (kept, skipped) if kept in skipped.all_input_nodes else (kept,):
        value.replace_all_uses_with(chosen, delete_user_cb=lambda u: u not in (chosen, skipped))
    return chosen


def _before_sums(
    graph: fx.Graph, gate: Gate, gated: GatedGraph, copies: dict[fx.Node, fx.Node]
) -> fx.Node:
    """The shortcut as it is before a sum is written into it."""
    shortcut = copies[gate.shortcut]
    storages = set(gated.facts[gate.shortcut].storages)
    for node in gated.graph.nodes:
        if node in gate.sums and gated.facts[node].writes & storages:
            with graph.inserting_before(copies[node]):
                return graph.call_method("clone", (shortcut,))
    return shortcut
