"""Residual units: adds that put a branch back onto an identity shortcut.

The one idea of this room. Over the data flow from the input alone, take an add ``a`` and its
immediate dominator ``s``, the last node that every path to ``a`` runs through. If an identity path
leads from ``s`` to ``a``, then everything else between the two is a residual branch, whatever it
holds (squeeze-excite, attention, concatenations), and closing the gate at ``a`` means to let the
shortcut stand for the sum. No names, no class lists.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import torch
from torch import fx, nn

from .behaviour import Traits, is_normalisation, kind_of, same_function, traits
from .layout_ops import LayoutOps, numbered
from .traced_graph import TracedGraph

SOURCE = "input"
_aten = torch.ops.aten  # what a recorded run is made of
_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__"}
_ADDS |= {_aten.add.Tensor, _aten.add_.Tensor}
# The first operand less, or plus, something: x - f(x), x + a * b.
_CHANGES = {operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract"}
_CHANGES |= {_aten.sub.Tensor, _aten.sub_.Tensor}
_CHANGES |= {torch.addcmul, "addcmul", "addcmul_", _aten.addcmul.default, _aten.addcmul_.default}
# (1 - w) * x + w * y for a constant w.
_MIXTURES = {torch.lerp, "lerp", "lerp_", _aten.lerp.Scalar, _aten.lerp_.Scalar}
_PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
_PRODUCTS |= {_aten.mul.Tensor, _aten.mul_.Tensor}
_QUOTIENTS = {_aten.div.Tensor, _aten.div_.Tensor}


@dataclass(frozen=True)
class Unit:
    """One residual add.

    Attributes:
        add: the add.
        shortcut: the operand that stands for the sum when the branch is skipped.
        branch: the other operand.
        fork: the node where shortcut and branch part, ``add``'s immediate dominator.
    """

    add: fx.Node
    shortcut: fx.Node
    branch: fx.Node
    fork: fx.Node


@dataclass(frozen=True)
class Path:
    """An identity path from a value back to the value it equals when all units on it are closed.

    Attributes:
        end: the value the path explains.
        start: the earlier value that ``end`` becomes.
        steps: the nodes on the way, from late to early, ``start`` left out.
        units: the units whose adds lie on the path, from late to early.
        exact: whether ``end`` can be replaced by ``start`` itself. If not (a learned scale on the
            shortcut, or an activation after the last add that is not known to leave ``start`` as
            it is), the adds are replaced one by one and the rest stays.
    """

    end: fx.Node
    start: fx.Node
    steps: tuple[fx.Node, ...]
    units: tuple[Unit, ...]
    exact: bool

    @property
    def gates(self) -> tuple[tuple[fx.Node, fx.Node], ...]:
        """Pairs of a node and the node that takes its place when the gate is closed, late first."""
        if self.exact:
            return ((self.end, self.start),)
        return tuple((unit.add, unit.shortcut) for unit in self.units)


class ResidualGraph:
    """The data flow of a network that was read, and the residual units in it."""

    def __init__(self, traced: TracedGraph, modules: Mapping[str, nn.Module]) -> None:
        self.traced = traced
        self.modules = dict(modules)
        self.order = {node: i for i, node in enumerate(traced.graph.nodes)}
        self._layout_ops = LayoutOps(traced.facts, self.modules)
        self._traits: dict[fx.Node, Traits] = {}
        self._traits_of_kinds: dict[object, Traits] = {}
        self._norms: dict[object, bool] = {}
        self.units: dict[fx.Node, Unit] = {}
        everywhere = frozenset(node for node in traced.graph.nodes if node in self.flow)
        for node in traced.graph.nodes:
            if (operands := self.operands(node)) is None:
                continue
            fork = self.dominators.get(node)
            if fork is not None:
                unit = self._find_unit(node, operands, fork)
            else:  # several inputs meet: the stream is the one that the branch is made of
                unit = self._unit_of_stream(node, operands, everywhere, self.units)
            if unit is not None:
                self.units[node] = unit

    @cached_property
    def flow(self) -> nx.DiGraph:
        """Nodes whose tensors depend on the input's tensors; ``SOURCE`` leads to all inputs.

        Parameters, sizes, and tables made from them are context, not flow. So are integers and
        flags that are handed in (masks, positions) until they look something up in a learned table.
        """
        flow = nx.DiGraph()
        flow.add_node(SOURCE)
        places: set[fx.Node] = set()  # integers and flags that are handed in, and what they make
        for node in self.traced.graph.nodes:
            if node.op == "output" or not self.traced.facts[node].is_flow:
                continue
            parents = [p for p in node.all_input_nodes if p in flow]
            if node.op == "placeholder":
                if self.traced.facts[node].floating:
                    parents = [SOURCE]
                else:
                    places.add(node)
            elif not parents and places.intersection(node.all_input_nodes):
                if self._looks_up(node):
                    parents = [SOURCE]
                else:
                    places.add(node)
            flow.add_edges_from((parent, node) for parent in parents)
        return flow

    def _looks_up(self, node: fx.Node) -> bool:
        """Whether ``node`` takes rows of a learned table."""
        return self.traced.facts[node].floating and bool(self._parameters(node))

    @cached_property
    def dominators(self) -> dict[fx.Node, fx.Node]:
        """The immediate dominator of each flow node, in execution order (none for the inputs)."""
        found = nx.immediate_dominators(self.flow, SOURCE)
        nodes = (n for n in self.traced.graph.nodes if found.get(n, SOURCE) != SOURCE)
        return {node: found[node] for node in nodes}

    def shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """The shape of a node that is one tensor, else ``None``."""
        return self.traced.facts[node].shape

    def leading_to(self, end: fx.Node) -> frozenset[fx.Node]:
        """``end`` and the flow nodes it depends on."""
        return frozenset(nx.ancestors(self.flow, end) | {end})

    def merges(self, nodes: Iterable[fx.Node]) -> bool:
        """Whether one of ``nodes`` adds two branches."""
        return any(self.operands(node) is not None for node in nodes)

    def operands(self, node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
        """The two operands, if ``node`` adds two tensors of the flow that have its own shape.

        Also if it subtracts one from the other, or mixes them in constant shares.
        """
        if node.target in _MIXTURES:
            terms: tuple[Any, ...] = node.args[:2]
        elif node.target in _ADDS or node.target in _CHANGES:
            named = (node.kwargs[key] for key in ("input", "other") if key in node.kwargs)
            terms = (*node.args, *named)
        else:
            return None
        if len(terms) == 3:  # x + a * b: of the two that are multiplied, the one that flows
            product = [term for term in terms[1:] if term in self.flow]
            terms = (terms[0], *product[-1:])
        if len(terms) != 2:
            return None
        left, right = terms
        if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)):
            return None
        if left not in self.flow or right not in self.flow:
            return None
        if not self.shape(left) == self.shape(right) == self.shape(node) is not None:
            return None
        return left, right

    def projections(self, inside: Iterable[fx.Node]) -> frozenset[fx.Node]:
        """What the shortcuts with weights compute among the nodes ``inside`` one block.

        Where two branches with weights merge, the shortcut is the one with a single weight layer.
        """
        found: set[fx.Node] = set()
        for node in inside:
            operands = None if node in self.units else self.operands(node)
            fork = self.dominators.get(node)
            if operands is None or fork is None:
                continue
            sides = [self.between(fork, side) for side in operands]
            weights = [self._weight_layers(side) for side in sides]
            if min(weights) == 1 < max(weights):
                found |= sides[weights.index(1)] - sides[weights.index(max(weights))]
        return frozenset(found)

    def between(self, fork: fx.Node, node: fx.Node) -> set[fx.Node]:
        """The flow nodes from ``fork`` (without it) to ``node``."""
        seen: set[fx.Node] = set()
        todo = [node]
        while todo:
            current = todo.pop()
            if current is not fork and current in self.flow and current not in seen:
                seen.add(current)
                todo.extend(current.all_input_nodes)
        return seen

    def _weight_layers(self, nodes: Iterable[fx.Node]) -> int:
        """How many nodes use a matrix or a filter bank."""
        return sum(
            any(parameter.ndim > 1 for parameter in self._parameters(node)) for node in nodes
        )

    def _parameters(self, node: fx.Node) -> list[nn.Parameter]:
        if node.op == "call_module":
            return list(self.modules[str(node.target)].parameters())
        found = []
        for parent in node.all_input_nodes:
            if parent.target is _aten.t.default:  # as an operator gets the matrix of a linear layer
                (parent,) = parent.all_input_nodes
            if parent.op == "get_attr":
                owner, _, name = str(parent.target).rpartition(".")
                value = getattr(self.modules.get(owner), name, None)
                found += [value] if isinstance(value, nn.Parameter) else []
        return found

    def path(
        self, end: fx.Node, inside: frozenset[fx.Node], units: Mapping[fx.Node, Unit] | None = None
    ) -> Path | None:
        """Follow ``end`` back through identities and units until it leaves ``inside``.

        Args:
            end: a flow node of ``inside``.
            inside: the nodes of one call.
            units: the units that are closed; default: all of the network's.

        Returns:
            ``None`` when something on the way is no identity, or when the start has another shape
            or another order of elements than the end.
        """
        units = self.units if units is None else units
        trail = self._trail(end, inside.__contains__, units, activations=True)
        if trail is None or self.shape(trail.start) != self.shape(end):
            return None
        closed = tuple(units[step] for step in trail.steps if step in units)
        if not closed or not self._keeps_order(trail, units):
            return None
        others = [n for n in trail.steps if n not in units and not self._is_plain(n)]
        exact = all(self._leaves_alone(other, trail.start) for other in others)
        if not exact and any(self.is_norm(other) for other in others):
            return None
        return Path(end, trail.start, trail.steps, closed, exact)

    def spine(self, end: fx.Node, inside: frozenset[fx.Node]) -> Path | None:
        """Follow ``end`` back from dominator to dominator until it leaves ``inside``.

        Returns:
            ``None`` when no unit lies on that chain, or when its start has another shape.
        """
        steps: list[fx.Node] = []
        node: fx.Node | None = end
        while node is not None and node in inside:
            steps.append(node)
            node = self.units[node].shortcut if node in self.units else self.dominators.get(node)
        closed = tuple(self.units[step] for step in steps if step in self.units)
        if node is None or not closed or self.shape(node) != self.shape(end):
            return None
        return Path(end, node, tuple(steps), closed, exact=False)

    def origin(self, unit: Unit) -> fx.Node:
        """Where the unit's stream comes from: its fork, or the add before it, if that is later."""
        node = unit.shortcut
        while node is not unit.fork and node not in self.units:
            sources = self._sources(node, {}, activations=False)
            if sources is None or len(sources) != 1:
                break
            (node,) = sources
        return node

    def steps_to(
        self, end: fx.Node, start: fx.Node, units: Mapping[fx.Node, Unit] | None = None
    ) -> tuple[fx.Node, ...] | None:
        """The identities, activations and norms on the way from ``start`` to ``end``.

        ``None`` if there is another way, or something else on it. The ``units`` are closed.
        """

        def goes_on(node: fx.Node) -> bool:
            return node is not start and self.order[node] > self.order[start]

        trail = self._trail(end, goes_on, units or {}, activations=True)
        return trail.steps if trail is not None and trail.start is start else None

    def is_written_after(self, node: fx.Node) -> bool:
        """Whether something writes later into the memory of what ``node`` gives."""
        facts = self.traced.facts
        memory, made = set(facts[node].storages), self.order[node]
        return any(self.order[n] > made and memory & fact.writes for n, fact in facts.items())

    def is_sum(self, node: fx.Node) -> bool:
        """Whether ``node`` gives its first operand where the other one is zero."""
        return node.target not in _MIXTURES

    def other_sizes(self, one: fx.Node, other: fx.Node) -> list[tuple[int, int]] | None:
        """The dimensions of ``other``, with their sizes, in which it is unlike ``one``.

        ``None`` if they are not one tensor each, of one kind of number and of as many dimensions.
        """
        first, second = self.traced.facts[one], self.traced.facts[other]
        if first.shape is None or second.shape is None or first.floating != second.floating:
            return None
        if len(first.shape) != len(second.shape):
            return None
        pairs = enumerate(zip(first.shape, second.shape, strict=True))
        return [(dim, size) for dim, (given, size) in pairs if given != size]

    def leaves_zeros(self, node: fx.Node) -> bool:
        """Whether ``node`` is a module that gives its input back in eval mode, as dropout does."""
        return node.op == "call_module" and self._is_plain(node)

    def zero_if(self, node: fx.Node) -> Iterator[tuple[fx.Node, ...]]:
        """Groups of operands: ``node`` is zero where all those of one group are."""
        parents = tuple(parent for parent in node.all_input_nodes if parent in self.flow)
        if node.target in _PRODUCTS:
            yield from ((parent,) for parent in parents)
        elif node.target in _QUOTIENTS:
            yield from ((parent,) for parent in parents[:1] if parent is node.args[0])
        elif (operands := self.operands(node)) is not None:
            yield operands
        elif parents and self._is_plain(node):
            yield parents

    def has_weights(self, nodes: Iterable[fx.Node]) -> bool:
        """Whether one of ``nodes`` uses a matrix or a filter bank."""
        return self._weight_layers(nodes) > 0

    def units_within(self, inside: frozenset[fx.Node]) -> Mapping[fx.Node, Unit]:
        """The network's units, and those of a call that takes several streams.

        Where streams meet in every block, the last value that all paths to an add run through
        lies far back. Seen from inside the call, a stream forks where it comes in.
        """
        units = dict(self.units)
        for node in sorted(inside, key=self.order.__getitem__):
            operands = None if node in units else self.operands(node)
            if operands is not None:
                unit = self._unit_of_stream(node, operands, inside, units)
                units |= {node: unit} if unit is not None else {}
        return units

    def _unit_of_stream(
        self,
        node: fx.Node,
        operands: tuple[fx.Node, fx.Node],
        inside: frozenset[fx.Node],
        units: Mapping[fx.Node, Unit],
    ) -> Unit | None:
        """The unit that ends at ``node``, if one operand alone comes in by an identity path.

        Or begins inside, and the other is made of it.
        """
        found = []
        for side, other in (operands, operands[::-1]):
            trail = self._as_far_back(side, inside, units)
            if trail is not None and self._is_shared(trail.start, other, inside):
                found.append((side, trail.start))
        return _as_unit(node, operands, *found[0]) if len(found) == 1 else None

    def _as_far_back(
        self, end: fx.Node, inside: frozenset[fx.Node], units: Mapping[fx.Node, Unit]
    ) -> _Trail | None:
        def goes_on(step: fx.Node) -> bool:
            return step in inside and self._sources(step, units, activations=False) is not None

        return self._trail(end, goes_on, units)

    def _is_shared(self, start: fx.Node, other: fx.Node, inside: frozenset[fx.Node]) -> bool:
        """Whether ``start`` comes from outside, or ``other`` is made of it."""
        todo, seen = [other], set()
        while start in inside and todo:
            node = todo.pop()
            if node is start:
                return True
            if node in inside and node not in seen:
                seen.add(node)
                todo.extend(node.all_input_nodes)
        return start not in inside

    def _find_unit(
        self, node: fx.Node, operands: tuple[fx.Node, fx.Node], fork: fx.Node
    ) -> Unit | None:
        """The unit that ends at ``node``, if one operand alone is ``fork`` by an identity path."""

        def is_after_fork(step: fx.Node) -> bool:
            return self.order[step] > self.order[fork]

        trails = [(side, self._trail(side, is_after_fork, self.units)) for side in operands]
        sides = [side for side, trail in trails if trail is not None and trail.start is fork]
        return _as_unit(node, operands, sides[0], fork) if len(sides) == 1 else None

    def _trail(
        self,
        end: fx.Node,
        goes_on: Callable[[fx.Node], bool],
        units: Mapping[fx.Node, Unit],
        activations: bool = False,
    ) -> _Trail | None:
        """Follow ``end`` back while ``goes_on``, through identities and closed units.

        What was split on the way must come together again, in one start.
        """
        steps: set[fx.Node] = set()
        starts: set[fx.Node] = set()
        todo = [end]
        while todo:
            node = todo.pop()
            if node in steps:
                continue
            if goes_on(node):
                sources = self._sources(node, units, activations)
                if sources is None:
                    return None
                steps.add(node)
                todo += sources
            else:
                starts.add(node)
                if len(starts) > 1:
                    return None
        late_first = sorted(steps, key=self.order.__getitem__, reverse=True)
        return _Trail(end, starts.pop(), tuple(late_first))

    def _sources(
        self, node: fx.Node, units: Mapping[fx.Node, Unit], activations: bool
    ) -> tuple[fx.Node, ...] | None:
        """What ``node`` equals when the units are closed, up to the places of elements."""
        if node in units:
            return (units[node].shortcut,)
        parents = tuple(p for p in node.all_input_nodes if self.traced.facts[p].shapes)
        if not parents or not all(parent in self.flow for parent in parents):
            flowing = tuple(parent for parent in parents if parent in self.flow)
            return flowing[:1] if self._is_scale(node) else None
        passes = self._is_plain(node) or self._is_scale(node)
        if passes or (activations and (self._traits_of(node).activation or self.is_norm(node))):
            return parents
        return None

    def _is_plain(self, node: fx.Node) -> bool:
        return self._traits_of(node).identity or self._moves(node)

    def is_activation(self, node: fx.Node) -> bool:
        """Whether ``node`` maps each element on its own and is no identity."""
        return self._traits_of(node).activation

    def is_norm(self, node: fx.Node) -> bool:
        """Whether ``node`` is a call of a normalisation layer."""
        if node.op != "call_module":
            return False
        if node.target not in self._norms:
            self._norms[node.target] = is_normalisation(self.modules[str(node.target)])
        return self._norms[node.target]

    def _moves(self, node: fx.Node) -> bool:
        return not self._traits_of(node).pointwise and self._layout_ops.is_one(node)

    def _keeps_order(self, trail: _Trail, units: Mapping[fx.Node, Unit]) -> bool:
        """Whether the elements that are split and moved on the way are all back in place."""
        shape = self.shape(trail.start)
        if shape is None or not any(self._moves(step) for step in trail.steps):
            return shape is not None
        (numbers,) = numbered([(shape,)])
        elements = {trail.start: numbers}
        for step in reversed(trail.steps):
            if step not in units and self._moves(step):
                elements[step] = self._layout_ops.apply(step, elements)
            else:
                sources = self._sources(step, units, activations=True)
                assert sources is not None
                elements[step] = elements[sources[0]].contiguous()  # a sum has strides of its own
        end = elements[trail.end]
        return isinstance(end, torch.Tensor) and torch.equal(end, numbers)

    def _is_scale(self, node: fx.Node) -> bool:
        """Whether ``node`` multiplies the flow by a number or a learned vector."""
        if node.target not in _PRODUCTS or len(node.args) != 2:
            return False
        factors = [a for a in node.args if not (isinstance(a, fx.Node) and a in self.flow)]
        shapes = [self.traced.facts[a].shapes for a in factors if isinstance(a, fx.Node)]
        return len(factors) == 1 and all(
            sum(size > 1 for size in shape) <= 1 for tensors in shapes for shape in tensors
        )

    def _traits_of(self, node: fx.Node) -> Traits:
        if node not in self._traits:
            kind = kind_of(node, self.modules)
            if kind not in self._traits_of_kinds:
                self._traits_of_kinds[kind] = traits(node, self.modules)
            self._traits[node] = self._traits_of_kinds[kind]
        return self._traits[node]

    def _leaves_alone(self, last: fx.Node, start: fx.Node) -> bool:
        """Whether ``start`` came out of the same idempotent activation, or out of a norm.

        A norm of what is normalised changes no more than the scale and the shift that it learned.
        """
        norm = self.is_norm(last)
        if not norm and not self._traits_of(last).idempotent:
            return False
        node: fx.Node | None = start
        while node is not None and node not in self.units:
            if norm and self.is_norm(node):
                return True
            if self._traits_of(node).activation:
                return not norm and same_function(last, node, self.modules)
            sources = self._sources(node, self.units, activations=False)
            node = sources[0] if sources is not None and len(sources) == 1 else None
        return False


@dataclass(frozen=True)
class _Trail:
    """The way back from ``end`` to ``start``; ``steps`` are the nodes on it, late first."""

    end: fx.Node
    start: fx.Node
    steps: tuple[fx.Node, ...]


def _as_unit(
    add: fx.Node, operands: tuple[fx.Node, fx.Node], shortcut: fx.Node, fork: fx.Node
) -> Unit | None:
    """The unit with that shortcut; none if the add scales it or takes it from the other.

    ``alpha`` applies to the second operand, as the minus does.
    """
    second = shortcut is operands[1]
    if second and (add.kwargs.get("alpha", 1) != 1 or add.target in _CHANGES):
        return None
    branch = operands[0] if second else operands[1]
    return Unit(add, shortcut, branch, fork)
