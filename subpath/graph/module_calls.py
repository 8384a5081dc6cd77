"""Module calls: which nodes each computes, and what of it can be skipped.

A call is *removable* when, with all its units closed, each of its outputs is one of its inputs. It
is *reducible* when units lie on its spine, the chain of dominators from its output back to its
input, but something else does too, a norm or a convolution: that stays when the units are closed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx, nn

from .behaviour import is_identity
from .residual import SOURCE, Path, ResidualGraph, Unit
from .traced_graph import Call


@dataclass(frozen=True)
class Block:
    """A residual block that can be skipped.

    Attributes:
        name: path of the module that is the block.
        paths: for each output of the block the way back to an input.
        nodes: everything the block computes.
        skipped: what of it is not computed when the block is skipped.
    """

    name: str
    paths: tuple[Path, ...]
    nodes: frozenset[fx.Node]
    skipped: frozenset[fx.Node]

    @property
    def gates(self) -> tuple[tuple[fx.Node, fx.Node], ...]:
        """Pairs of a node and the node that takes its place when the block is skipped."""
        return tuple(gate for path in self.paths for gate in path.gates)

    @property
    def starts(self) -> frozenset[fx.Node]:
        """The values that flow in."""
        return frozenset(path.start for path in self.paths)

    @property
    def ends(self) -> frozenset[fx.Node]:
        """The values that flow out."""
        return frozenset(path.end for path in self.paths)

    def precedes(self, other: Block) -> bool:
        """Whether ``other`` takes in what this block gives out."""
        return other.starts <= self.ends


class CallTree:
    """The module calls of a traced model, with the nodes each of them computes."""

    def __init__(self, residual: ResidualGraph) -> None:
        self.residual = residual
        self.modules = residual.modules
        nodes: dict[Call, set[fx.Node]] = defaultdict(set)
        for node, stack in residual.traced.calls.items():
            for call in stack:
                nodes[call].add(node)
        self.nodes = {call: frozenset(nodes[call]) for call in nodes}
        self._signatures: dict[nn.Module, str] = {}

    @cached_property
    def removable(self) -> dict[Call, Block]:
        """The calls that become identities when their units are closed, outer calls first."""
        found = {call: self._as_block(call) for call in self._calls_of_units}
        return {call: block for call, block in found.items() if block is not None}

    @cached_property
    def reducible(self) -> dict[Call, Block]:
        """The other calls with units on their spine, outer calls first."""
        calls = (call for call in self._calls_of_units if call not in self.removable)
        found = {call: self._as_reducible(call) for call in calls}
        return {call: block for call, block in found.items() if block is not None}

    @cached_property
    def skippable(self) -> dict[Call, Block]:
        """The removable and the reducible calls, outer calls first."""
        both = self.removable | self.reducible
        return {call: both[call] for call in self._calls_of_units if call in both}

    @cached_property
    def _calls_of_units(self) -> list[Call]:
        calls = self.residual.traced.calls
        adds = (n for n in self.residual.flow if n in calls and self.residual.operands(n))
        return list(dict.fromkeys(call for add in adds for call in calls[add]))

    def owner(self, unit: Unit) -> tuple[Call, ...]:
        """The calls around a unit, the last of which calls its branch: not a mere adder's own."""
        stack = self.residual.traced.calls[unit.add]
        while stack and unit.branch not in self.nodes[stack[-1]]:
            stack = stack[:-1]
        return stack

    def exits(self, call: Call) -> list[fx.Node]:
        """The nodes of ``call`` whose values are used outside it, in execution order."""
        nodes = self.nodes[call]
        return sorted((n for n in nodes if _is_exit(n, nodes)), key=self.residual.order.__getitem__)

    def signature(self, path: str) -> str:
        """The classes of the module at ``path`` and of everything inside it, sizes left out.

        What does nothing in eval mode is left out too: drop-path is often missing in one block.
        """
        return self._signature(self.modules[path.partition("#")[0]])

    def kind(self, path: str) -> object:
        """What blocks of one row have in common: the class, for a bare container its contents."""
        module = self.modules[path.partition("#")[0]]
        return self.signature(path) if type(module) is nn.Sequential else type(module)

    def block(self, name: str, paths: Sequence[Path], nodes: frozenset[fx.Node]) -> Block:
        """The block with these paths, and what closing its gates leaves out."""
        closed = dict(gate for path in paths for gate in path.gates)
        needed: set[fx.Node] = set()
        todo = [node for node in nodes if _is_exit(node, nodes)]
        while todo:
            node = todo.pop()
            while node in closed:
                node = closed[node]
            if node in nodes and node not in needed:
                needed.add(node)
                todo += node.all_input_nodes
        return Block(name, tuple(paths), nodes, nodes - needed)

    def _signature(self, module: nn.Module) -> str:
        if module not in self._signatures:
            children = [(name, m) for name, m in module.named_children() if not is_identity(m)]
            inside = ",".join(f"{name}:{self._signature(child)}" for name, child in children)
            self._signatures[module] = f"{type(module).__qualname__}({inside})"
        return self._signatures[module]

    def _as_reducible(self, call: Call) -> Block | None:
        nodes, residual = self.nodes[call], self.residual
        ends = [node for node in self.exits(call) if node in residual.flow]
        found = [residual.spine(end, nodes) for end in ends]
        paths = [path for path in found if path is not None]
        block = self.block(call.path, paths, nodes)
        return block if residual.has_weights(block.skipped) else None

    def _as_block(self, call: Call) -> Block | None:
        nodes, residual = self.nodes[call], self.residual
        several = len(self.streams_into(nodes)) > 1
        units = residual.units_within(nodes) if several else residual.units
        paths = []
        for node in self.exits(call):
            if node in residual.flow:
                path = residual.path(node, nodes, units)
                if path is not None:
                    paths.append(path)
                elif not self.is_side_output(node, nodes):
                    return None
            elif self._depends_on_flow(node, nodes):
                size = self._same_size_outside(node, nodes)
                if size is None:  # it would keep the branch alive
                    return None
                paths.append(Path(node, size, (node,), (), exact=True))
        if not paths or (several and self._only_adds(call)):
            return None
        return self.block(call.path, paths, nodes)

    def is_side_output(self, node: fx.Node, nodes: frozenset[fx.Node]) -> bool:
        """Whether nothing but the caller of the network gets ``node``: a map of attention, say."""
        return all(user in nodes or user.op == "output" for user in node.users)

    def _only_adds(self, call: Call) -> bool:
        """Whether the branch comes from outside, and all that is done here is to add it."""
        facts, nodes = self.residual.traced.facts, self.nodes[call]
        return not self.residual.has_weights(nodes) and not any(facts[n].macs for n in nodes)

    def streams_into(self, nodes: frozenset[fx.Node]) -> set[fx.Node]:
        """The flow values that are made outside of ``nodes`` and used inside.

        Also those that begin inside: what is looked up for a number that is handed in.
        """
        flow = self.residual.flow
        parents = {parent for node in nodes for parent in node.all_input_nodes}
        begun = {node for node in nodes if node in flow and SOURCE in flow.pred[node]}
        return begun | {p for p in parents - nodes if p in flow}

    def _same_size_outside(self, node: fx.Node, inside: frozenset[fx.Node]) -> fx.Node | None:
        """The size handed to a block that hands it on (the outputs have the inputs' shapes)."""
        facts = self.residual.traced.facts
        handed_in = {p for n in inside for p in n.all_input_nodes if p not in inside}
        equal = (
            p for p in handed_in if not facts[p].is_flow and facts[p].value == facts[node].value
        )
        return max(equal, key=self.residual.order.__getitem__, default=None)

    def _depends_on_flow(self, node: fx.Node, inside: frozenset[fx.Node]) -> bool:
        todo = [node]
        while todo:
            current = todo.pop()
            if current in inside:
                if current in self.residual.flow:
                    return True
                todo.extend(current.all_input_nodes)
        return False


def _is_exit(node: fx.Node, nodes: frozenset[fx.Node]) -> bool:
    return any(user not in nodes for user in node.users)
