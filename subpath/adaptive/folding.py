"""Fold a gated graph for one skip config: what is left is straight-line code.

Each closed gate's shortcut stands for its sum, the norms of skipped stages point at their twins,
and what nobody needs any more is taken away.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import fx

from ..graph.facts import Fact
from ..planning import Addition, Patch
from ..skip import SkipConfig
from .gates import Gate, GatedGraph
from .liveness import facts_after, is_written, live_nodes
from .module_paths import addition_path, patch_path, twin_path

Returns = Literal["output", "features", "both", "patches"]


def fold(gated: GatedGraph, config: SkipConfig, returns: Returns = "output") -> fx.Graph:
    """The straight-line graph of one skip config.

    Args:
        gated: the annotated graph; it is not changed.
        config: one letter for each stage.
        returns: the output, the stages' outputs (a tuple), ``(output, stages' outputs)``, or the
            values at the patches (a tuple).
    """
    totals = tuple(gate.total for gate in gated.patches)
    shown = {"output": (), "patches": totals}.get(returns, gated.ends)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(gated.graph, copies)
    origin = {copy: node for node, copy in copies.items()}
    changed: dict[fx.Node, fx.Node] = {}
    for node, addition in gated.additions.items():
        if config.skips(addition.stage):
            layer = copies[node]
            changed[layer] = copies[node] = apply_addition(graph, layer, addition)
            origin[copies[node]] = node
    output = fx.node.map_arg(output, lambda node: changed.get(node, node))
    closed = [gate for gate in gated.gates if config.skips(gate.stage)]
    ends = tuple(_unchanging(graph, copies[end], end, gated.facts) for end in shown)
    graph.output({"output": output, "both": (output, ends)}.get(returns, ends))
    stands_for: dict[fx.Node, fx.Node] = {}
    patched: dict[fx.Node, fx.Node] = {}
    for gate in closed:
        node, shortcut = copies[gate.node], copies[gate.shortcut]
        stands_for[node] = stands_for.get(shortcut, shortcut)
        if gate in gated.patches:
            total = copies[gate.total]
            value = add_patch(graph, stands_for[node], gated.patches[gate], after=total)
            stands_for[total] = value
            stands_for[node] = patched[gate.node] = as_after_sum(graph, gate, value, copies)
    for node, other in stands_for.items():
        node.replace_all_uses_with(other)
    for node, twin in gated.twins.items():
        if config.skips(twin.stage):
            copies[node].target = twin_path(twin)
    facts = facts_after(closed, gated.facts, origin, patched)
    sums = {copies[node] for gate in closed for node in gate.sums}
    live = set(live_nodes(graph.nodes, facts, sums))
    gone = {copied for copied, node in origin.items() if node in gated.live} - live
    gone |= {node for node in graph.nodes if node not in origin and node.op != "output"} - live
    for node in graph.nodes:  # what nobody needed before (asserts) goes with what it looks at
        if node not in live and any(parent in gone for parent in node.all_input_nodes):
            gone.add(node)
    for node in reversed(graph.nodes):
        if node in gone:
            graph.erase_node(node)
            origin.pop(node, None)
    for gate in closed:
        if gate.node in patched:  # what a patch gives is nobody else's
            continue
        users = [copies[user] for user in gate.node.users if copies.get(user) in live]
        if is_written(gate.node, gated.facts, by={origin[user] for user in users}):
            _give_copy(graph, stands_for[copies[gate.node]], users)
    return graph


def add_patch(graph: fx.Graph, value: fx.Node, patch: Patch, after: fx.Node) -> fx.Node:
    """Add ``value + patch(value)`` to ``graph``."""
    with graph.inserting_after(after):
        mapped = graph.call_module(patch_path(patch), (value,))
    with graph.inserting_after(mapped):
        return graph.call_function(operator.add, (value, mapped))


def apply_addition(graph: fx.Graph, layer: fx.Node, addition: Addition) -> fx.Node:
    """Let all that use the output of ``layer`` use what its addition makes of it."""
    with graph.inserting_after(layer):
        changed = graph.call_module(addition_path(addition), (layer.all_input_nodes[0], layer))
    layer.replace_all_uses_with(changed, delete_user_cb=lambda user: user is not changed)
    return changed


def as_after_sum(
    graph: fx.Graph, gate: Gate, value: fx.Node, copies: Mapping[fx.Node, fx.Node]
) -> fx.Node:
    """``value`` after the activations that follow the gate's sum."""
    for node in gate.after_sum:
        before = value
        with graph.inserting_after(copies[node]):
            value = graph.node_copy(copies[node], lambda _, before=before: before)  # type: ignore[misc]
    return value


def _give_copy(graph: fx.Graph, value: fx.Node, users: Sequence[fx.Node]) -> None:
    """Let ``users`` have a copy of ``value``: one of them works in place."""
    first = next(node for node in graph.nodes if node in users)
    with graph.inserting_before(first):
        copied = graph.call_method("clone", (value,))
    for user in users:
        user.replace_input_with(value, copied)


def _unchanging(
    graph: fx.Graph, copied: fx.Node, node: fx.Node, facts: Mapping[fx.Node, Fact]
) -> fx.Node:
    """The value of ``node`` as it is when it is made: a copy if a later call writes into it."""
    if not is_written(node, facts):
        return copied
    with graph.inserting_after(copied):
        return graph.call_method("clone", (copied,))
