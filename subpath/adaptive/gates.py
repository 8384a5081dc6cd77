"""A traced graph with its gates; what a skip config closes is told by its letters.

A :class:`GatedGraph` is never changed: :func:`.folding.fold` copies it for each config.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import fx

from ..errors import PlanError
from ..graph.facts import Fact
from ..planning import Addition, Patch, TwinNorm
from ..skip import SkipConfig
from .liveness import facts_after, live_nodes, nodes_after, stand_ins


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
        return tuple(gate for node, gate in own.items() if nodes_after(node).isdisjoint(own))

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
        return frozenset(live_nodes(self.graph.nodes, self.facts, frozenset()))

    def macs(self, config: SkipConfig) -> int:
        """Multiply-adds of ``config`` for the example input: an estimate for display.

        ``subpath.measure`` counts with all operators; this knows matrix products and
        convolutions.
        """
        closed = [gate for gate in self.gates if config.skips(gate.stage)]
        facts = facts_after(closed, self.facts, {node: node for node in self.graph.nodes})
        sums = {node for gate in closed for node in gate.sums}
        live = frozenset(live_nodes(self.graph.nodes, facts, sums, stand_ins(closed)))
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


def _macs_added(fact: Fact, addition: Addition) -> int:
    numbers = math.prod(fact.shape or ())
    fan_in = fact.macs // numbers if numbers else 0
    places = numbers // addition.channels
    return places * addition.rank * (fan_in + addition.channels)
