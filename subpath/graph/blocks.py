"""Residual blocks: the units that are skipped together, found through the modules they live in.

Nested calls are often all skippable (a stage, its blocks, the attention and the MLP of one block);
the level that repeats among siblings is the block.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from math import prod

from .calls import Block, CallTree
from .residual import Unit
from .trace import Call

Level = frozenset[tuple[str, object]]


def find_blocks(tree: CallTree) -> tuple[Block, ...]:
    """The residual blocks of a traced model, in execution order.

    Args:
        tree: the calls of the model; module paths give the blocks their names.
    """
    level = _block_level(tree)
    blocks: list[Block] = []
    for call, block in tree.skippable.items():
        if _enclosing(tree, call) is not None or _is_part_of_block(tree, call, level):
            continue
        if _is_at(tree, call, level):
            blocks.append(block)
        elif call in tree.removable:
            inner = _descend(tree, call, level)
            blocks += [] if inner == [block] and _is_odd(tree, call, level) else inner
    claimed = {node for block in blocks for node in block.nodes}
    flat: dict[Call | None, list[Unit]] = defaultdict(list)
    for unit in tree.residual.units.values():
        if unit.add not in claimed:
            flat[_owner(tree, unit)].append(unit)
    for owner, units in flat.items():
        blocks += _repeating(tree, owner, units)
    blocks = [block for block in blocks if not _updates_one_vector(tree, block)]
    blocks.sort(key=lambda block: min(tree.residual.order[end] for end in block.ends))
    return _unique_names(blocks)


def locate_blocks(tree: CallTree, names: Iterable[str]) -> dict[str, Block]:
    """Those of the named blocks that are there and can be skipped, by name.

    The trace may have fewer modules opened than the one that :func:`find_blocks` saw.
    """
    found = {block.name: block for block in _unique_names(list(tree.skippable.values()))}
    names = list(names)
    if not all(name in found for name in names):
        found = {block.name: block for block in find_blocks(tree)} | found
    return {name: found[name] for name in names if name in found}


def parent(path: str) -> str:
    """Path of the container that holds the module at ``path``."""
    return path.rpartition(".")[0]


def _descend(tree: CallTree, call: Call, level: Level) -> list[Block]:
    """The blocks inside one skippable call: itself, or those of its parts."""
    block = tree.skippable[call]
    patterns = {pattern for pattern, _ in level}
    if _pattern(call.path) in patterns:
        return [block]
    units = [unit for path in block.paths for unit in reversed(path.units)]
    own = [unit for unit in units if _owner(tree, unit) == call]
    parts = _parts(tree, call)
    if own and not parts:
        return _repeating(tree, call, own) or [block]
    inside = [inner.path for part in parts for inner in (part, *_inside(tree, part))]
    if any(_pattern(path) in patterns for path in inside) or (len(parts) == 1 and not own):
        return [inner for part in parts for inner in _descend(tree, part, level)]
    return [block]


def _block_level(tree: CallTree) -> Level:
    """Patterns of paths, and kinds, at which skippable siblings of one kind follow one another.

    Siblings that are themselves rows of one kind of part are stages, not blocks. A convolution and
    an MLP that follow each other once are the parts of one block.
    """
    families: dict[str, list[Call]] = defaultdict(list)
    times = Counter(call.path for call in tree.skippable)
    for call in tree.skippable:
        if re.search(r"\d", call.path.rpartition(".")[2]) or times[call.path] > 1:
            families[parent(call.path)].append(call)
    level: set[tuple[str, object]] = set()
    for siblings in families.values():
        if any(_is_row(tree, call) for call in siblings):
            continue
        kinds = [[tree.signature(call.path) for call in chain] for chain in _chains(tree, siblings)]
        if any(len(set(chain)) < len(chain) for chain in kinds):
            level |= {(_pattern(call.path), tree.kind(call.path)) for call in siblings}
    return frozenset(level)


def _chains(tree: CallTree, calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in rows in which each takes in what the one before gives out."""
    chains: list[list[Call]] = []
    for call in calls:
        if chains and tree.skippable[chains[-1][-1]].precedes(tree.skippable[call]):
            chains[-1].append(call)
        else:
            chains.append([call])
    return chains


def _is_at(tree: CallTree, call: Call, level: Level) -> bool:
    return (_pattern(call.path), tree.kind(call.path)) in level


def _is_odd(tree: CallTree, call: Call, level: Level) -> bool:
    """Whether ``call`` is unlike the rows of blocks elsewhere, and what is before and after it."""
    if not level or tree.kind(call.path) in {kind for _, kind in level}:
        return False
    block = tree.skippable[call]
    near = [
        tree.signature(other.path)
        for other, beside in tree.skippable.items()
        if parent(other.path) == parent(call.path)
        and other != call
        and (block.precedes(beside) or beside.precedes(block))
    ]
    return bool(near) and tree.signature(call.path) not in near


def _is_part_of_block(tree: CallTree, call: Call, level: Level) -> bool:
    """Whether ``call`` lies in a block that cannot be removed as a whole."""
    return any(_is_at(tree, outer, level) for outer in _around(tree, call))


def _inside(tree: CallTree, call: Call) -> list[Call]:
    """All skippable calls inside ``call``."""
    nodes = tree.nodes[call]
    return [other for other in tree.skippable if other != call and tree.nodes[other] <= nodes]


def _is_row(tree: CallTree, call: Call) -> bool:
    parts = _parts(tree, call)
    return len(parts) > 1 and len({tree.signature(part.path) for part in parts}) == 1


def _parts(tree: CallTree, call: Call) -> list[Call]:
    """The outermost skippable calls inside ``call`` that lie on its way from input to output."""
    spine = {unit.add for path in tree.skippable[call].paths for unit in path.units}
    return [
        other
        for other, block in tree.skippable.items()
        if _enclosing(tree, other, tree.skippable) == call
        and all(unit.add in spine for path in block.paths for unit in path.units)
    ]


def _enclosing(tree: CallTree, call: Call, among: Container[Call] | None = None) -> Call | None:
    """The innermost call around ``call`` that is removable, or ``among`` others."""
    outer = [other for other in _around(tree, call) if other in (among or tree.removable)]
    return outer[-1] if outer else None


def _around(tree: CallTree, call: Call) -> tuple[Call, ...]:
    """The calls that ``call`` was made in, outermost first."""
    stack = tree.residual.traced.calls[next(iter(tree.nodes[call]))]
    return stack[: stack.index(call)]


def _owner(tree: CallTree, unit: Unit) -> Call | None:
    """The call whose own forward makes the add; ``None`` is the model's own forward."""
    stack = tree.residual.traced.calls[unit.add]
    return stack[-1] if stack else None


def _updates_one_vector(tree: CallTree, block: Block) -> bool:
    """Whether all that the block adds to is one vector, though more flows in: a class token."""
    shape = tree.residual.shape
    adds = [shape(unit.add) or () for path in block.paths for unit in path.units]
    streams = [shape(stream) or () for stream in tree.streams_into(block.nodes)]
    numbers = max(prod(add[1:]) for add in adds)
    one_vector = numbers == max(max(add[1:]) for add in adds)
    return one_vector and any(prod(stream[1:]) > numbers for stream in streams)


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
    return tree.block(".".join(name), (path,), nodes) if name else None


def _unique_names(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """A module that is called again gives a block for each call: ``layer``, ``layer#2``."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for block in blocks:
        seen[block.name] += 1
        name = block.name if seen[block.name] == 1 else f"{block.name}#{seen[block.name]}"
        named.append(replace(block, name=name))
    return tuple(named)


def _pattern(path: str) -> str:
    return re.sub(r"\d+", "*", path)
