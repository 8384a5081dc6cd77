"""Put gates into a traced graph, and fold them for one skip config.

A :class:`GatedGraph` is never changed: to run a skip config is to copy it, let each closed gate's
shortcut stand for its sum, point the norms of skipped stages at their twins, and take away what
nobody needs any more. What is left is straight-line code.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import fx

from ..errors import PlanError
from ..graph.blocks import locate_blocks
from ..graph.facts import Fact
from ..graph.module_calls import Block, CallTree
from ..graph.residual import Path
from ..planning import Addition, Patch, Plan, TwinNorm
from ..skip import SkipConfig

Returns = Literal["output", "features", "both", "patches"]


@dataclass(frozen=True)
class Gate:
    """A value at the end of a skippable block and the shortcut that can stand for it.

    Attributes:
        node: the residual add, or what the block makes of it.
        shortcut: the value that takes its place when the gate is closed.
        stage: number of the stage (from 0) whose letter closes the gate.
        sums: the in-place adds a closed gate takes away, though their target lives on.
        after_sum: activations between the residual add and ``node``, which follow a patch too.
    """

    node: fx.Node
    shortcut: fx.Node
    stage: int
    sums: frozenset[fx.Node]
    after_sum: tuple[fx.Node, ...] = ()

    @property
    def total(self) -> fx.Node:
        """The value that a patched shortcut stands for: the sum, before an activation."""
        return self.after_sum[0].all_input_nodes[0] if self.after_sum else self.node


@dataclass(frozen=True, eq=False)
class GatedGraph:
    """A traced graph with its gates and the norms that have a twin; immutable.

    Attributes:
        graph: the whole network as traced: the super-net.
        gates: in execution order.
        twins: each norm call that has a twin, with the twin's record in the plan.
        ends: the outputs of the stages.
        facts: what is known of each node.
        constants: tensors that the graph reads beside the parameters and buffers.
        by_size: whether it holds for inputs of the example's shapes alone.
        patches: of the gates that have one.
        additions: each call of a layer that has an addition, with its record in the plan.
    """

    graph: fx.Graph
    gates: tuple[Gate, ...]
    twins: Mapping[fx.Node, TwinNorm]
    ends: tuple[fx.Node, ...]
    facts: Mapping[fx.Node, Fact]
    constants: Mapping[str, torch.Tensor]
    by_size: bool
    patches: Mapping[Gate, Patch] = field(default_factory=dict)
    additions: Mapping[fx.Node, Addition] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> GatedGraph:
        return self

    def last_gates(self, stage: int) -> tuple[Gate, ...]:
        """The gates of a stage that no other gate of it comes after: one for each stream."""
        own = {gate.node: gate for gate in self.gates if gate.stage == stage}
        return tuple(gate for node, gate in own.items() if _after(node).isdisjoint(own))

    def with_patches(self, patches: Iterable[Patch]) -> GatedGraph:
        """The same graph with these patches and no others.

        Raises:
            PlanError: a patch has no place here.
        """
        found: dict[Gate, Patch] = {}
        for patch in patches:
            gates = self.last_gates(patch.stage)
            shape: tuple[int, ...] = ()
            if patch.number < len(gates):
                shape = self.facts[gates[patch.number].node].shape or ()
            if len(shape) != patch.dims or shape[patch.channel_dim] != patch.channels:
                raise PlanError(
                    f"got a plan with the patch {patch}; expected one for stages that end in "
                    f"{[self.facts[gate.node].shape for gate in gates]}"
                )
            found[gates[patch.number]] = patch
        return replace(self, patches=found)

    @cached_property
    def live(self) -> frozenset[fx.Node]:
        """The nodes of the super-net that its outputs depend on."""
        return frozenset(_live(self.graph.nodes, self.facts, frozenset()))

    def macs(self, config: SkipConfig) -> int:
        """Multiply-adds of ``config`` for the example input: an estimate for display.

        ``subpath.measure`` counts with all operators; this knows matrix products and
        convolutions.
        """
        closed = [gate for gate in self.gates if config.skips(gate.stage)]
        facts = _facts_after(closed, self.facts, {node: node for node in self.graph.nodes})
        sums = {node for gate in closed for node in gate.sums}
        live = frozenset(_live(self.graph.nodes, facts, sums, _stand_ins(closed)))
        gone = self.live - live
        patched = (
            (self.facts[gate.node].shape, self.patches[gate])
            for gate in closed
            if gate in self.patches
        )
        added = (
            _macs_added(self.facts[node], addition)
            for node, addition in self.additions.items()
            if config.skips(addition.stage)
        )
        return (
            sum(fact.macs for node, fact in self.facts.items() if node not in gone)
            + sum(
                math.prod(shape or ()) // patch.channels * patch.weights for shape, patch in patched
            )
            + sum(added)
        )


def add_gates(tree: CallTree, plan: Plan) -> GatedGraph:
    """Find the plan's blocks and norms in a trace and mark them.

    Raises:
        PlanError: a block of the plan is not there, or cannot be skipped.
    """
    found = locate_blocks(tree, [name for stage in plan.stages for name in stage.blocks])
    missing = [name for stage in plan.stages for name in stage.skippable if name not in found]
    if missing:
        opaque = tree.residual.traced.opaque
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(opaque.items())[:3])
        raise PlanError(
            f"got a plan that skips {', '.join(missing[:6])}; expected blocks that this network "
            "has and that have an identity shortcut"
            + (f". Some modules could not be looked into ({reasons})" if opaque else "")
        )
    order = tree.residual.order
    gates = [
        Gate(node, shortcut, number, _in_place_sums(tree, found[name]), _after_sum(tree, path))
        for number, stage in enumerate(plan.stages)
        for name in stage.skippable
        for path in found[name].paths
        for node, shortcut in path.gates
    ]
    _check_stages(plan, [order[gate.node] for gate in gates], [gate.stage for gate in gates])
    by_path = {twin.path: twin for twin in plan.twin_norms}
    twins = {
        node: by_path[str(node.target)]
        for node in tree.residual.traced.graph.nodes
        if node.op == "call_module" and node.target in by_path
    }
    added = {addition.path: addition for addition in plan.additions}
    additions = {
        node: added[str(node.target)]
        for node in tree.residual.traced.graph.nodes
        if node.op == "call_module" and node.target in added
    }
    for kind, wanted, called in (
        ("twin norms", by_path, {twin.path for twin in twins.values()}),
        ("additions", added, {addition.path for addition in additions.values()}),
    ):
        if absent := wanted.keys() - called:
            raise PlanError(
                f"got a plan with {kind} for {', '.join(sorted(absent)[:6])}; expected modules "
                "that this network calls"
            )
    return GatedGraph(
        graph=tree.residual.traced.graph,
        gates=tuple(sorted(gates, key=lambda gate: order[gate.node])),
        twins=twins,
        ends=tuple(_end(tree, found, stage.blocks[-1]) for stage in plan.stages),
        facts=tree.residual.traced.facts,
        constants=tree.residual.traced.constants,
        by_size=tree.residual.traced.by_size,
        additions=additions,
    ).with_patches(plan.patches)


def _check_stages(plan: Plan, places: Sequence[int], stages: Sequence[int]) -> None:
    """Refuse a plan with a stage that skips nothing, or that runs before the one it follows."""
    names, numbers = [stage.name for stage in plan.stages], range(len(plan.stages))
    idle = [names[number] for number in numbers if number not in stages]
    if idle:
        raise PlanError(
            f"got a plan that skips nothing in {', '.join(idle)}; expected a skippable block in "
            "each of its stages"
        )
    firsts = [min(p for p, s in zip(places, stages, strict=True) if s == n) for n in numbers]
    if firsts != sorted(firsts):
        ran = [names[number] for number in sorted(numbers, key=firsts.__getitem__)]
        raise PlanError(
            f"got a plan with the stages {', '.join(names)}; expected them in the order in which "
            f"this network runs them: {', '.join(ran)}"
        )


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
    facts = _facts_after(closed, gated.facts, origin, patched)
    sums = {copies[node] for gate in closed for node in gate.sums}
    live = set(_live(graph.nodes, facts, sums))
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
        if _is_written(gate.node, gated.facts, by={origin[user] for user in users}):
            _give_copy(graph, stands_for[copies[gate.node]], users)
    return graph


def twin_path(twin: TwinNorm) -> str:
    """Where the twin of a norm lives in the adaptive model."""
    return f"twin_norms.{twin.stage}.{twin.path}"


def addition_path(addition: Addition) -> str:
    """Where an addition lives in the adaptive model."""
    return f"additions.{addition.stage}.{addition.path}"


def patch_path(patch: Patch) -> str:
    """Where a patch lives in the adaptive model."""
    return f"patches.{patch.stage}.{patch.number}"


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


def _macs_added(fact: Fact, addition: Addition) -> int:
    numbers = math.prod(fact.shape or ())
    fan_in = fact.macs // numbers if numbers else 0
    places = numbers // addition.channels
    return places * addition.rank * (fan_in + addition.channels)


def _stand_ins(closed: Iterable[Gate]) -> dict[fx.Node, fx.Node]:
    """For the node of each closed gate what takes its place in the end."""
    stands_for: dict[fx.Node, fx.Node] = {}
    for gate in closed:
        stands_for[gate.node] = stands_for.get(gate.shortcut, gate.shortcut)
    return stands_for


def _after(node: fx.Node) -> set[fx.Node]:
    """All nodes that ``node`` leads to."""
    found: set[fx.Node] = set()
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user not in found:
            found.add(user)
            waiting += user.users
    return found


def _facts_after(
    closed: Iterable[Gate],
    facts: Mapping[fx.Node, Fact],
    origin: Mapping[fx.Node, fx.Node],
    patched: Mapping[fx.Node, fx.Node] = MappingProxyType({}),
) -> dict[fx.Node, Fact]:
    """The facts of the copied nodes; who writes into a sum later now writes into its stand-in.

    Only what comes after the gate: what made the sum may have written into the same memory. What
    a patch gives has memory of its own.
    """
    shortcuts = {gate.node: gate.shortcut for gate in closed}
    moved: dict[int, int] = {}
    found: dict[fx.Node, Fact] = {}
    for copied, node in origin.items():
        if node in patched:
            own = -1 - len(found)
            moved |= dict.fromkeys(facts[node].storages, own)
            found[patched[node]] = Fact(facts[node].shapes, (own,))
        elif node in shortcuts:
            pairs = zip(facts[node].storages, facts[shortcuts[node]].storages, strict=False)
            moved |= {old: moved.get(new, new) for old, new in pairs}
        fact = facts.get(node)
        if fact is not None and not moved.keys().isdisjoint((*fact.storages, *fact.writes)):
            fact = replace(
                fact,
                storages=tuple(moved.get(s, s) for s in fact.storages),
                writes=frozenset(moved.get(s, s) for s in fact.writes),
            )
        if fact is not None:
            found[copied] = fact
    return found


def _give_copy(graph: fx.Graph, value: fx.Node, users: Sequence[fx.Node]) -> None:
    """Let ``users`` have a copy of ``value``: one of them works in place."""
    first = next(node for node in graph.nodes if node in users)
    with graph.inserting_before(first):
        copied = graph.call_method("clone", (value,))
    for user in users:
        user.replace_input_with(value, copied)


def _live(
    nodes: Iterable[fx.Node],
    facts: Mapping[fx.Node, Fact],
    ignored: Iterable[fx.Node],
    stands_for: Mapping[fx.Node, fx.Node] = MappingProxyType({}),
) -> Iterable[fx.Node]:
    """The nodes whose value or whose writing is needed for the output.

    A node that writes into a tensor is needed as long as that tensor is, even if its own result
    is not used: torch.fx's elimination drops such writes (timm #800).

    Args:
        nodes: in execution order.
        facts: what is known of them.
        ignored: nodes whose writing does not count.
        stands_for: other nodes whose values are used instead of those of some.
    """
    ignored = set(ignored)
    needed: set[fx.Node] = set()
    storages: set[int] = set()
    for node in reversed(list(nodes)):
        fact = facts.get(node)
        writes = fact is not None and node not in ignored and bool(fact.writes & storages)
        if node.op in ("output", "placeholder") or node in needed or writes:
            yield node
            for parent in node.all_input_nodes:
                needed.add(value := stands_for.get(parent, parent))
                if value in facts:
                    storages.update(facts[value].storages)


def _unchanging(
    graph: fx.Graph, copied: fx.Node, node: fx.Node, facts: Mapping[fx.Node, Fact]
) -> fx.Node:
    """The value of ``node`` as it is when it is made: a copy if a later call writes into it."""
    if not _is_written(node, facts):
        return copied
    with graph.inserting_after(copied):
        return graph.call_method("clone", (copied,))


def _is_written(
    node: fx.Node, facts: Mapping[fx.Node, Fact], by: Collection[fx.Node] | None = None
) -> bool:
    """Whether one of the users of ``node`` (or of those in ``by``) writes into its value."""
    storages = set(facts[node].storages)
    users = node.users if by is None else by
    return any(user in facts and facts[user].writes & storages for user in users)


def _after_sum(tree: CallTree, path: Path) -> tuple[fx.Node, ...]:
    """The activations that follow the last add of ``path``, in execution order."""
    if not path.exact or not path.units:
        return ()
    after = path.steps[: path.steps.index(path.units[0].add)]
    return tuple(reversed(after)) if all(map(tree.residual.is_activation, after)) else ()


def as_after_sum(
    graph: fx.Graph, gate: Gate, value: fx.Node, copies: Mapping[fx.Node, fx.Node]
) -> fx.Node:
    """``value`` after the activations that follow the gate's sum."""
    for node in gate.after_sum:
        before = value
        with graph.inserting_after(copies[node]):
            value = graph.node_copy(copies[node], lambda _, before=before: before)  # type: ignore[misc]
    return value


def _in_place_sums(tree: CallTree, block: Block) -> frozenset[fx.Node]:
    facts = tree.residual.traced.facts
    return frozenset(step for path in block.paths for step in path.steps if facts[step].writes)


def _end(tree: CallTree, found: Mapping[str, Block], name: str) -> fx.Node:
    flow, order = tree.residual.flow, tree.residual.order
    if name in found:
        tensors: Iterable[fx.Node] = (end for end in found[name].ends if end in flow)
    else:
        tensors = (
            node
            for call in tree.nodes
            if call.path == name.partition("#")[0]
            for node in tree.exits(call)
            if node in flow
        )
    return max(tensors, key=order.__getitem__)
