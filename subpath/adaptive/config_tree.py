"""Several skip configs on one batch: what they share is computed once.

The straight-line graphs of two configs are equal up to the first gate or twin that differs. So all
configs are a tree, each branch a stretch of code; it is walked with the values that later branches
need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn

from ..graph.facts import Fact
from ..skip import SkipConfig
from .codegen import compile_forward
from .gates import GatedGraph
from .module_paths import addition_path

_NOTHING = Fact((), ())


@dataclass(frozen=True)
class Straight:
    """The graph of one config.

    Attributes:
        config: its letters.
        graph: straight-line code.
        facts: what is known of its nodes, by name; of a copy that folding put in, nothing.
    """

    config: SkipConfig
    graph: fx.Graph
    facts: Mapping[str, Fact]


@dataclass(frozen=True)
class Branch:
    """A stretch of code that some configs share, and what follows it.

    Values are known by their place in the graphs, which is the same for all configs of a branch.
    """

    run: Callable[..., Any]
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    ends: tuple[tuple[SkipConfig, Any], ...]
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class _Line:
    """A graph as a list: places for nodes, so that those of two graphs can be compared."""

    config: SkipConfig
    nodes: tuple[fx.Node, ...]
    keys: tuple[str, ...]
    reads: tuple[frozenset[int], ...]
    facts: tuple[Fact, ...]
    result: Any

    def reads_from(self, place: int) -> frozenset[int]:
        """The earlier places that are read at ``place`` or later."""
        later = frozenset[int]().union(*self.reads[place:])
        return frozenset(read for read in later if read < place)

    def writes_from(self, place: int) -> frozenset[int]:
        """The storages that are written into at ``place`` or later."""
        return frozenset[int]().union(*(fact.writes for fact in self.facts[place:]))


def straight(gated: GatedGraph, config: SkipConfig, graph: fx.Graph) -> Straight:
    """``graph``, folded from ``gated``, with what is known of its nodes.

    The memory of a sum and of the shortcut that stands for it counts as one.
    """
    same: dict[int, int] = {}
    for gate in gated.gates:
        if config.skips(gate.stage):
            sums = (*gated.facts[gate.node].storages, *gated.facts[gate.total].storages)
            for one in sums:
                for other in gated.facts[gate.shortcut].storages:
                    same |= {s: same.get(other, other) for s in (*same, one) if _of(s, one, same)}
    facts = {
        node.name: replace(
            fact,
            storages=tuple(same.get(s, s) for s in fact.storages),
            writes=frozenset(same.get(s, s) for s in fact.writes),
        )
        for node, fact in gated.facts.items()
    }
    layers = {addition_path(addition) for addition in gated.additions.values()}
    for node in graph.find_nodes(op="call_module"):
        if node.target in layers:
            facts[node.name] = facts[node.args[1].name]
    return Straight(config, graph, facts)


def _of(storage: int, one: int, same: Mapping[int, int]) -> bool:
    return storage == one or same.get(storage) == same.get(one, one)


def tree(straights: Sequence[Straight], root: nn.Module) -> Branch:
    """All configs as one tree; of equal configs each has an end of its own."""
    lines = [_line(straight) for straight in straights]
    inputs = sum(node.op == "placeholder" for node in lines[0].nodes)
    return _branch(lines, inputs, root)


def outputs(
    branch: Branch, root: nn.Module, inputs: Sequence[Any]
) -> Iterator[tuple[SkipConfig, Any]]:
    """The configs with their outputs, in the order of the tree, each when it is computed."""
    yield from _walk(branch, root, dict(enumerate(inputs)))


def _walk(
    branch: Branch, root: nn.Module, values: Mapping[int, Any]
) -> Iterator[tuple[SkipConfig, Any]]:
    got = branch.run(root, *[values[place] for place in branch.takes])
    values = {**values, **dict(zip(branch.gives, got, strict=True))}
    for config, result in branch.ends:
        yield config, fx.node.map_aggregate(result, lambda v: _value(v, values))
    for following in branch.branches:
        yield from _walk(following, root, values)


def _value(item: Any, values: Mapping[int, Any]) -> Any:
    return values[item.number] if isinstance(item, _Place) else item


@dataclass(frozen=True)
class _Place:
    number: int

    def __repr__(self) -> str:
        return f"<{self.number}>"


def _line(straight: Straight) -> _Line:
    *nodes, end = straight.graph.nodes
    place: dict[fx.Node, Any] = {node: _Place(number) for number, node in enumerate(nodes)}

    def key(node: fx.Node) -> str:
        given = fx.node.map_arg((node.args, node.kwargs), place.__getitem__)
        target = node.target if isinstance(node.target, str) else id(node.target)
        return f"{node.op} {target} {given!r}"

    return _Line(
        straight.config,
        tuple(nodes),
        tuple(key(node) for node in nodes),
        tuple(frozenset(place[n].number for n in node.all_input_nodes) for node in (*nodes, end)),
        tuple(straight.facts.get(node.name, _NOTHING) for node in nodes),
        fx.node.map_arg(end.args[0], place.__getitem__),
    )


def _branch(lines: Sequence[_Line], start: int, root: nn.Module) -> Branch:
    """The branch of lines that are equal up to ``start``."""
    first, end = lines[0], _parting(lines, start)
    going_on = frozenset[int]().union(*(line.reads_from(end) for line in lines))
    takes = frozenset[int]().union(*first.reads[start:end])
    gives = tuple(sorted(place for place in going_on if place >= start))
    run = _segment(first.nodes[start:end], [first.nodes[place] for place in gives], root)
    inside = sorted(place for place in takes if place < start)
    following: dict[str, list[_Line]] = {}
    ends = [(line.config, line.result) for line in lines if len(line.nodes) == end]
    for line in lines:
        if len(line.nodes) > end:
            following.setdefault(line.keys[end], []).append(line)
    # Where a write into what others read lets no common beginning grow, each goes its own way.
    groups = following.values() if len(following) > 1 else [[line] for line in lines[len(ends) :]]
    return Branch(
        run,
        tuple(inside),
        gives,
        tuple(ends),
        tuple(_branch(group, end, root) for group in groups),
    )


def _parting(lines: Sequence[_Line], start: int) -> int:
    """Where lines part: what is common ends, or must not be shared because some write into it."""
    if len(lines) == 1:
        return len(lines[0].nodes)
    end = start
    shortest = min(len(line.nodes) for line in lines)
    while end < shortest and len({line.keys[end] for line in lines}) == 1:
        end += 1
    while end > start:
        read = frozenset[int]().union(*(line.reads_from(end) for line in lines))
        kept = {s for place in read for s in lines[0].facts[place].storages}
        written = kept & frozenset[int]().union(*(line.writes_from(end) for line in lines))
        made = [p for p in range(start, end) if written & set(lines[0].facts[p].storages)]
        if not made:
            break
        end = made[0]
    return end


def _segment(
    nodes: Sequence[fx.Node], gives: Sequence[fx.Node], root: nn.Module
) -> Callable[..., Any]:
    """A function of what the nodes read from before, in order of places, that gives ``gives``."""
    inside, graph = set(nodes), fx.Graph()
    order = {node: number for number, node in enumerate(nodes[0].graph.nodes)} if nodes else {}
    read = {parent for node in nodes for parent in node.all_input_nodes} - inside
    copies = {node: graph.placeholder(node.name) for node in sorted(read, key=order.__getitem__)}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in gives))
    return compile_forward(graph, root)
