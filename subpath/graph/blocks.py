"""Residual blocks: the units that are skipped together, found through the modules they live in.

A module call is *removable* when, with all its units closed, each of its outputs is one of its
inputs. Nested calls are often all removable (a stage, its blocks, the attention and the MLP of one
block); the level that repeats among siblings is the block.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from torch import fx, nn

from .residual import Path, ResidualGraph, Unit
from .trace import Call


@dataclass(frozen=True)
class Block:
    """A residual block that can be skipped.

    Attributes:
        name: path of the module that is the block.
        paths: an identity path for each output of the block.
        nodes: everything the block computes.
    """

    name: str
    paths: tuple[Path, ...]
    nodes: frozenset[fx.Node]

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

    @cached_property
    def removable(self) -> dict[Call, Block]:
        """The calls that become identities when their units are closed, outer calls first."""
        owners = {
            call: None for add in self.residual.units for call in self.residual.traced.calls[add]
        }
        found = {call: self._as_block(call) for call in owners}
        return {call: block for call, block in found.items() if block is not None}

    def exits(self, call: Call) -> list[fx.Node]:
        """The nodes of ``call`` whose values are used outside it, in execution order."""
        nodes = self.nodes[call]
        leaving = (n for n in nodes if any(user not in nodes for user in n.users))
        return sorted(leaving, key=self.residual.order.__getitem__)

    def signature(self, path: str) -> str:
        """The classes of the module at ``path`` and of everything inside it, sizes left out."""
        return _signature(self.modules[path.partition("#")[0]])

    def kind(self, path: str) -> object:
        """What blocks of one row have in common: the class, for a bare container its contents."""
        module = self.modules[path.partition("#")[0]]
        return self.signature(path) if type(module) is nn.Sequential else type(module)

    def _as_block(self, call: Call) -> Block | None:
        nodes, residual = self.nodes[call], self.residual
        paths = []
        for node in self.exits(call):
            if node in residual.flow:
                path = residual.path(node, nodes)
                if path is None:
                    return None
                paths.append(path)
            elif self._depends_on_flow(node, nodes):
                size = self._same_size_outside(node, nodes)
                if size is None:  # it would keep the branch alive
                    return None
                paths.append(Path(node, size, (node,), (), exact=True))
        return Block(call.path, tuple(paths), nodes) if paths else None

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


def find_blocks(tree: CallTree) -> tuple[Block, ...]:
    """The residual blocks of a traced model, in execution order.

    Args:
        tree: the calls of the model; module paths give the blocks their names.
    """
    level = _block_level(tree)
    blocks: list[Block] = []
    for call in tree.removable:
        if _enclosing(tree, call) is None and not _is_part_of_block(tree, call, level):
            blocks += _descend(tree, call, level)
    claimed = {node for block in blocks for node in block.nodes}
    flat: dict[Call | None, list[Unit]] = defaultdict(list)
    for unit in tree.residual.units.values():
        if unit.add not in claimed:
            flat[_owner(tree, unit)].append(unit)
    for owner, units in flat.items():
        blocks += _repeating(tree, owner, units)
    blocks.sort(key=lambda block: min(tree.residual.order[end] for end in block.ends))
    return _unique_names(blocks)


def locate_blocks(tree: CallTree, names: Iterable[str]) -> dict[str, Block]:
    """Those of the named blocks that are there and can be skipped, by name.

    The trace may have fewer modules opened than the one that :func:`find_blocks` saw.
    """
    removable = {block.name: block for block in _unique_names(list(tree.removable.values()))}
    names = list(names)
    if not all(name in removable for name in names):
        removable = {block.name: block for block in find_blocks(tree)} | removable
    return {name: removable[name] for name in names if name in removable}


def parent(path: str) -> str:
    """Path of the container that holds the module at ``path``."""
    return path.rpartition(".")[0]


def _descend(tree: CallTree, call: Call, level: frozenset[str]) -> list[Block]:
    """The blocks inside one removable call: itself, or those of its removable parts."""
    block = tree.removable[call]
    if _pattern(call.path) in level:
        return [block]
    units = [unit for path in block.paths for unit in reversed(path.units)]
    own = [unit for unit in units if _owner(tree, unit) == call]
    parts = _parts(tree, call)
    if own and not parts:
        return _repeating(tree, call, own) or [block]
    inner = any(_pattern(inner.path) in level for inner in _inside(tree, call))
    if own or not (inner or len(parts) == 1):
        return [block]
    return [inner for part in parts for inner in _descend(tree, part, level)]


def _block_level(tree: CallTree) -> frozenset[str]:
    """Patterns of paths at which removable siblings of one kind follow one another.

    Siblings that are themselves rows of one kind of part are stages, not blocks. A convolution and
    an MLP that follow each other once are the parts of one block.
    """
    families: dict[str, list[Call]] = defaultdict(list)
    times = Counter(call.path for call in tree.removable)
    for call in tree.removable:
        if re.search(r"\d", call.path.rpartition(".")[2]) or times[call.path] > 1:
            families[parent(call.path)].append(call)
    level = set()
    for siblings in families.values():
        if any(_is_row(tree, call) for call in siblings):
            continue
        blocks = [tree.removable[call] for call in siblings]
        kinds = [tree.signature(call.path) for call in siblings]
        follow = any(first.precedes(second) for first, second in pairwise(blocks))
        if follow and len(set(kinds)) < len(kinds):
            level.add(_pattern(siblings[0].path))
    return frozenset(level)


def _is_part_of_block(tree: CallTree, call: Call, level: frozenset[str]) -> bool:
    """Whether ``call`` lies in a block that cannot be skipped as a whole."""
    return any(_pattern(outer.path) in level for outer in _around(tree, call))


def _inside(tree: CallTree, call: Call) -> list[Call]:
    """All removable calls inside ``call``."""
    nodes = tree.nodes[call]
    return [other for other in tree.removable if other != call and tree.nodes[other] <= nodes]


def _is_row(tree: CallTree, call: Call) -> bool:
    parts = _parts(tree, call)
    return len(parts) > 1 and len({tree.signature(part.path) for part in parts}) == 1


def _parts(tree: CallTree, call: Call) -> list[Call]:
    """The outermost removable calls inside ``call`` that lie on its identity paths."""
    spine = {unit.add for path in tree.removable[call].paths for unit in path.units}
    return [
        other
        for other, block in tree.removable.items()
        if _enclosing(tree, other) == call
        and all(unit.add in spine for path in block.paths for unit in path.units)
    ]


def _enclosing(tree: CallTree, call: Call) -> Call | None:
    """The innermost removable call around ``call``."""
    outer = [other for other in _around(tree, call) if other in tree.removable]
    return outer[-1] if outer else None


def _around(tree: CallTree, call: Call) -> tuple[Call, ...]:
    """The calls that ``call`` was made in, outermost first."""
    stack = tree.residual.traced.calls[next(iter(tree.nodes[call]))]
    return stack[: stack.index(call)]


def _owner(tree: CallTree, unit: Unit) -> Call | None:
    """The call whose own forward makes the add; ``None`` is the model's own forward."""
    stack = tree.residual.traced.calls[unit.add]
    return stack[-1] if stack else None


def _repeating(tree: CallTree, owner: Call | None, units: Sequence[Unit]) -> list[Block]:
    """Blocks of a forward that makes several adds itself, as ``for f in fs: x = x + f(x)``.

    The branches must repeat: attention, MLP, attention, MLP makes two blocks, while attention,
    MLP is one module with two units and no row of blocks.
    """
    blocks: list[Block] = []
    for row in _rows(units):
        branches = [_branch_modules(tree, owner, unit) for unit in row]
        kinds = [tuple(tree.signature(path) for path in branch) for branch in branches]
        period = _period(kinds)
        if not all(branches) or period == len(row):
            continue
        for i in range(0, len(row), period):
            block = _flat_block(tree, row[i : i + period], branches[i : i + period])
            if block is not None:
                blocks.append(block)
    return blocks


def _rows(units: Iterable[Unit]) -> list[list[Unit]]:
    rows: list[list[Unit]] = []
    for unit in units:
        if rows and unit.fork is rows[-1][-1].add:
            rows[-1].append(unit)
        else:
            rows.append([unit])
    return rows


def _period(kinds: Sequence[object]) -> int:
    """The smallest length whose repetition makes up ``kinds``."""
    n = len(kinds)
    return next(p for p in range(1, n + 1) if n % p == 0 and list(kinds[:p]) * (n // p) == [*kinds])


def _branch_modules(tree: CallTree, owner: Call | None, unit: Unit) -> list[str]:
    """Paths of the modules that the owner calls to compute the unit's branch."""
    calls = tree.residual.traced.calls
    depth = 0 if owner is None else calls[unit.add].index(owner) + 1
    paths: dict[str, None] = {}
    todo, seen = [unit.branch], set()
    while todo:
        node = todo.pop()
        if node is unit.fork or node in seen or node not in tree.residual.flow:
            continue
        seen.add(node)
        if len(calls[node]) > depth:
            paths[calls[node][depth].path] = None
        todo.extend(node.all_input_nodes)
    return sorted(paths)


def _flat_block(
    tree: CallTree, units: Sequence[Unit], branches: Sequence[Sequence[str]]
) -> Block | None:
    order = tree.residual.order
    first, last = order[units[0].fork], order[units[-1].add]
    nodes = frozenset(node for node, i in order.items() if first < i <= last)
    path = tree.residual.path(units[-1].add, nodes)
    if path is None:
        return None
    name = os.path.commonprefix([p.split(".") for branch in branches for p in branch])
    return Block(".".join(name), (path,), nodes) if name else None


def _unique_names(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """A module that is called again gives a block for each call: ``layer``, ``layer#2``."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for block in blocks:
        seen[block.name] += 1
        name = block.name if seen[block.name] == 1 else f"{block.name}#{seen[block.name]}"
        named.append(Block(name, block.paths, block.nodes))
    return tuple(named)


def _pattern(path: str) -> str:
    return re.sub(r"\d+", "*", path)


def _signature(module: nn.Module) -> str:
    children: Mapping[str, nn.Module] = dict(module.named_children())
    inside = ",".join(f"{name}:{_signature(child)}" for name, child in children.items())
    return f"{type(module).__qualname__}({inside})"
