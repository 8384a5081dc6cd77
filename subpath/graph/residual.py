"""Residual units: adds that put a branch back onto an identity shortcut.

The one idea of this room. Over the data flow from the input alone, take an add ``a`` and its
immediate dominator ``s``, the last node that every path to ``a`` runs through. If an identity path
leads from ``s`` to ``a``, then everything else between the two is a residual branch, whatever it
holds (squeeze-excite, attention, concatenations), and closing the gate at ``a`` means to let the
shortcut stand for the sum. No names, no class lists.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import torch
from torch import fx, nn

from .behaviour import Traits, same_function, traits
from .trace import TracedGraph

SOURCE = "input"
_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__"}
_PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}


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
    """The data flow of a traced model and the residual units in it."""

    def __init__(self, traced: TracedGraph, modules: Mapping[str, nn.Module]) -> None:
        self.traced = traced
        self.modules = dict(modules)
        self.order = {node: i for i, node in enumerate(traced.graph.nodes)}
        self._traits: dict[fx.Node, Traits] = {}
        self._layouts: dict[fx.Node, bool] = {}
        self.units: dict[fx.Node, Unit] = {}
        for node in self.dominators:
            if (unit := self._unit(node)) is not None:
                self.units[node] = unit

    @cached_property
    def flow(self) -> nx.DiGraph:
        """Nodes whose tensors depend on the input's tensors; ``SOURCE`` leads to all inputs.

        Parameters, sizes, and tables made from them are context, not flow.
        """
        flow = nx.DiGraph()
        flow.add_node(SOURCE)
        for node in self.traced.graph.nodes:
            if node.op == "output" or not self.traced.facts[node].is_flow:
                continue
            parents = [p for p in node.all_input_nodes if p in flow]
            if node.op == "placeholder":
                parents = [SOURCE]
            flow.add_edges_from((parent, node) for parent in parents)
        return flow

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
        """Whether one of ``nodes`` adds two branches without being a residual unit."""
        return any(n not in self.units and self.operands(n) is not None for n in nodes)

    def operands(self, node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
        """The two operands, if ``node`` adds two tensors of the flow that have its own shape."""
        if node.target not in _ADDS:
            return None
        named = (node.kwargs[key] for key in ("input", "other") if key in node.kwargs)
        terms = (*node.args, *named)
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
            if operands is None:
                continue
            fork = self.dominators[node]
            sides = [self._between(fork, side) for side in operands]
            weights = [self._weight_layers(side) for side in sides]
            if min(weights) == 1 < max(weights):
                found |= sides[weights.index(1)] - sides[weights.index(max(weights))]
        return frozenset(found)

    def _between(self, fork: fx.Node, node: fx.Node) -> set[fx.Node]:
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
            if parent.op == "get_attr":
                owner, _, name = str(parent.target).rpartition(".")
                value = getattr(self.modules[owner], name, None)
                found += [value] if isinstance(value, nn.Parameter) else []
        return found

    def path(self, end: fx.Node, inside: frozenset[fx.Node]) -> Path | None:
        """Follow ``end`` back through identities and units until it leaves ``inside``.

        Returns ``None`` when something on the way is no identity, or when the start has another
        shape or another order of elements than the end.
        """
        steps: list[fx.Node] = []
        node = end
        while node in inside:
            previous = self._previous(node, activations=True)
            if previous is None:
                return None
            steps.append(node)
            node = previous
        units = tuple(self.units[step] for step in steps if step in self.units)
        if not units or self.shape(node) != self.shape(end):
            return None
        if not self._keeps_order(steps, node):
            return None
        others = [n for n in steps if n not in self.units and not self._is_plain(n)]
        exact = all(self._leaves_alone(other, node) for other in others)
        return Path(end, node, tuple(steps), units, exact)

    def _unit(self, node: fx.Node) -> Unit | None:
        operands = self.operands(node)
        if operands is None:
            return None
        fork = self.dominators[node]
        sides = [side for side in operands if fork in self._identity_trail(side, fork)]
        if len(sides) != 1 or (node.kwargs.get("alpha", 1) != 1 and sides[0] is operands[1]):
            return None
        shortcut = sides[0]
        branch = operands[1] if shortcut is operands[0] else operands[0]
        return Unit(node, shortcut, branch, fork)

    def _identity_trail(self, node: fx.Node, until: fx.Node) -> Iterator[fx.Node]:
        step: fx.Node | None = node
        while step is not None and self.order[step] >= self.order[until]:
            yield step
            step = self._previous(step, activations=False)

    def _previous(self, node: fx.Node, activations: bool) -> fx.Node | None:
        """The value ``node`` equals, up to layout, when the units are closed."""
        if node in self.units:
            return self.units[node].shortcut
        parents = [p for p in node.all_input_nodes if p in self.flow]
        if len(parents) != 1 or self.shape(node) is None or self.shape(parents[0]) is None:
            return None
        if self._is_plain(node) or self._is_scale(node):
            return parents[0]
        return parents[0] if activations and self._traits_of(node).activation else None

    def _is_plain(self, node: fx.Node) -> bool:
        return self._traits_of(node).identity or self._is_layout(node)

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
            self._traits[node] = traits(node, self.modules)
        return self._traits[node]

    def _leaves_alone(self, activation: fx.Node, start: fx.Node) -> bool:
        """Whether ``start`` came out of the same idempotent activation."""
        if not self._traits_of(activation).idempotent:
            return False
        node: fx.Node | None = start
        while node is not None and node not in self.units:
            if self._traits_of(node).activation:
                return same_function(activation, node, self.modules)
            node = self._previous(node, activations=False)
        return False

    def _is_layout(self, node: fx.Node) -> bool:
        """Whether ``node`` only moves elements: view, permute, roll, contiguous, flatten."""
        if node not in self._layouts:
            moved = None if self._traits_of(node).pointwise else self._moved(node, None)
            self._layouts[node] = moved is not None and _is_permutation(moved)
        return self._layouts[node]

    def _keeps_order(self, steps: list[fx.Node], start: fx.Node) -> bool:
        """Whether the layout changes along ``steps`` (late to early) cancel out."""
        shape = self.shape(start)
        layouts = [step for step in reversed(steps) if self._is_layout(step)]
        if not layouts or shape is None:
            return True
        numbers = _numbers(shape)
        elements: torch.Tensor | None = numbers
        for step in layouts:
            if elements is not None:
                elements = self._moved(step, elements)
        return elements is not None and torch.equal(elements, numbers)

    def _moved(self, node: fx.Node, elements: torch.Tensor | None) -> torch.Tensor | None:
        """Run ``node`` on element numbers (default: in order), sizes as they were in the trace."""
        source = node.args[0] if node.args else None
        facts = self.traced.facts
        if not isinstance(source, fx.Node) or node in self.units:
            return None
        shape = self.shape(source)
        if (
            shape is None
            or torch.Size(shape).numel() != torch.Size(self.shape(node) or (0,)).numel()
        ):
            return None
        if any(facts[p].is_flow for p in node.all_input_nodes if p is not source):
            return None
        if elements is None:
            elements = _numbers(shape)
        rest, kwargs = fx.node.map_arg(
            (node.args[1:], dict(node.kwargs)), lambda parent: facts[parent].value
        )
        try:
            if node.op == "call_method":
                result = getattr(elements, str(node.target))(*rest, **kwargs)
            elif node.op == "call_module":
                module = self.modules[str(node.target)]
                if any(True for _ in (*module.parameters(), *module.buffers())):
                    return None
                result = module(elements, *rest, **kwargs)
            else:
                assert callable(node.target)
                result = node.target(elements, *rest, **kwargs)
        except Exception:  # it computes with the values: no mere change of layout
            return None
        return result if isinstance(result, torch.Tensor) else None


def _numbers(shape: tuple[int, ...]) -> torch.Tensor:
    """A different integer for each element, negative ones too: a ReLU is no change of layout."""
    count = torch.Size(shape).numel()
    return torch.arange(-(count // 2), count - count // 2, device="cpu").reshape(shape)


def _is_permutation(moved: torch.Tensor) -> bool:
    """Whether ``moved`` holds the same integers as ``_numbers`` gives, in any order."""
    count = moved.numel()
    if moved.dtype != torch.int64:
        return False
    seen = torch.zeros(count, dtype=torch.bool, device="cpu")
    places = moved.flatten() + count // 2
    if places.min() < 0 or places.max() >= count:
        return False
    seen[places] = True
    return bool(seen.all())
