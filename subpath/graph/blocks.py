"""Residual blocks: the units that are skipped together, found through the modules they live in.

Which level of the nested calls holds the blocks, `level.py` tells.
"""

from __future__ import annotations

import operator
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from math import prod
from typing import TypeVar

from torch import fx

from .block_level import (
    Level,
    around,
    block_level,
    enclosing,
    inside,
    is_at,
    parent,
    parts,
    pattern,
)
from .module_calls import Block, CallTree
from .positions import is_mlp, mixes_then_widens
from .residual import Unit
from .similarity import alike
from .traced_graph import Call

_Kind = TypeVar("_Kind")
_Item = TypeVar("_Item")


def find_blocks(tree: CallTree, known: Collection[str] = ()) -> tuple[Block, ...]:
    """The residual blocks of a traced model, in execution order.

    Args:
        tree: the calls of the model; module paths give the blocks their names.
        known: the names of all blocks, if an earlier trace with more modules opened told them.
    """
    owned: dict[Call | None, list[Unit]] = defaultdict(list)
    for unit in tree.residual.units.values():
        owned[_owner(tree, unit)].append(unit)
    level = block_level(tree, lambda call: bool(_repeating(tree, call, owned[call], known)))
    blocks: list[Block] = []
    for call, block in tree.skippable.items():
        if enclosing(tree, call) is not None or _is_part_of_block(tree, call, level):
            continue
        if is_at(tree, call, level):
            blocks.append(block)
        elif call in tree.removable:
            inner = _descend(tree, call, level, known)
            blocks += [] if inner == [block] and _is_odd(tree, call, level) else inner
    claimed = {node for block in blocks for node in block.nodes}
    apart = {
        node for call in tree.skippable if is_at(tree, call, level) for node in tree.nodes[call]
    }
    flat: list[Block] = []
    for owner, units in list(owned.items()):
        left = [unit for unit in units if unit.add not in claimed]
        flat += _repeating(tree, owner, left, known, apart)
    blocks = [block for block in blocks if not any(block.nodes < other.nodes for other in flat)]
    blocks = [block for block in blocks + flat if not _updates_one_vector(tree, block)]
    blocks.sort(key=lambda block: min(tree.residual.order[end] for end in block.ends))
    return _unique_names(blocks)


def locate_blocks(tree: CallTree, names: Iterable[str]) -> dict[str, Block]:
    """Those of the named blocks that are there and can be skipped, by name.

    The trace may have fewer modules opened than the one that :func:`find_blocks` saw.
    """
    found = {block.name: block for block in _unique_names(list(tree.skippable.values()))}
    names = list(names)
    if not all(name in found for name in names):
        known = frozenset(name.partition("#")[0] for name in names)
        found = {block.name: block for block in find_blocks(tree, known)} | found
    return {name: found[name] for name in names if name in found}


def _descend(tree: CallTree, call: Call, level: Level, known: Collection[str]) -> list[Block]:
    """The blocks inside one skippable call: itself, or those of its parts."""
    block = tree.skippable[call]
    patterns = {place for place, _ in level}
    if pattern(call.path) in patterns:
        return [block]
    units = [unit for path in block.paths for unit in reversed(path.units)]
    own = [unit for unit in units if _owner(tree, unit) == call]
    found = parts(tree, call)
    below = [inner.path for part in found for inner in (part, *inside(tree, part))]
    if any(pattern(path) in patterns for path in below) or (len(found) == 1 and not own):
        return [inner for part in found for inner in _descend(tree, part, level, known)]
    return _repeating(tree, call, own, known) or [block]


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
    return any(is_at(tree, outer, level) for outer in around(tree, call))


def _owner(tree: CallTree, unit: Unit) -> Call | None:
    """The call whose own forward calls the branch; ``None`` is the model's own forward."""
    stack = tree.owner(unit)
    return stack[-1] if stack else None


def _updates_one_vector(tree: CallTree, block: Block) -> bool:
    """Whether all that the block adds to is one vector, though more flows in: a class token."""
    shape = tree.residual.shape
    adds = [shape(unit.add) or () for path in block.paths for unit in path.units]
    streams = [shape(stream) or () for stream in tree.streams_into(block.nodes)]
    numbers = max(prod(add[1:]) for add in adds)
    one_vector = numbers == max(max(add[1:]) for add in adds)
    batch = {add[0] for add in adds}
    return one_vector and any(prod(s[1:]) > numbers and s[0] in batch for s in streams if s)


def _repeating(
    tree: CallTree,
    owner: Call | None,
    units: Sequence[Unit],
    known: Collection[str],
    apart: Collection[fx.Node] = (),
) -> list[Block]:
    """Blocks of a forward that makes several adds itself, as ``for f in fs: x = x + f(x)``.

    The branches must repeat: attention, MLP, attention, MLP makes two blocks, while attention,
    MLP is one module with two units and no row of blocks. A row ends where nodes that are kept
    ``apart``, blocks known already, lie between.
    """
    blocks: list[Block] = []
    for row in _rows(tree, units, apart):
        branches = [_branch_modules(tree, owner, unit) for unit in row]
        if len(row) > 1 and all(branches):
            lengths = _known_lengths(branches, known) or _block_lengths(tree, row, branches)
            if len(lengths) > 1:
                blocks += _flat_blocks(tree, row, branches, lengths)
    return blocks


def _known_lengths(branches: Sequence[Sequence[str]], known: Collection[str]) -> list[int] | None:
    """How many units make each block, so that the blocks have the names known."""
    equal = (_equal(length, len(branches)) for length in range(1, len(branches)))
    for lengths in (*equal, _lengths_by_container(branches)):
        names = _names(_cut(branches, lengths))
        if len(set(names)) == len(names) and set(names) <= set(known):
            return lengths
    return None


def _block_lengths(
    tree: CallTree, units: Sequence[Unit], branches: Sequence[Sequence[str]]
) -> list[int]:
    """How many units make each block; where the branches do not repeat, their containers tell."""
    length = _block_length(tree, units, branches)
    return _equal(length, len(units)) if length < len(units) else _lengths_by_container(branches)


def _lengths_by_container(branches: Sequence[Sequence[str]]) -> list[int]:
    """A block for each run of branches that lie in one container, if the containers are a row.

    One of them may lack a part: a norm, or a unit of its own.
    """
    paths = [".".join(_common(branch)) for branch in branches]
    for containers in (paths, list(map(parent, paths))):
        runs = [(path, len(list(run))) for path, run in groupby(containers)]
        if len(runs) < len(paths) and _are_numbered([path for path, _ in runs]):
            return [length for _, length in runs]
    return [len(paths)]


def _equal(length: int, count: int) -> list[int]:
    """Pieces of that length; the last is what is left."""
    return [min(length, count - start) for start in range(0, count, length)]


def _cut(items: Sequence[_Item], lengths: Iterable[int]) -> list[Sequence[_Item]]:
    ends = list(accumulate(lengths, initial=0))
    return [items[start:end] for start, end in pairwise(ends)]


def _block_length(tree: CallTree, units: Sequence[Unit], branches: Sequence[Sequence[str]]) -> int:
    """How many units in a row make a block; all of them, where the branches do not repeat.

    Branches that are numbered in one container are blocks by themselves, but for attention and MLP
    by turns.
    """
    kinds = [tuple(tree.signature(path) for path in branch) for branch in branches]
    paths = [".".join(_common(branch)) for branch in branches]
    length = _period(kinds, operator.eq)
    if length == 1 or len(set(paths)) < len(paths):
        return length
    outside = _period([tree.modules[path] for path in paths], alike)
    if not _are_numbered(paths):
        return length if length < len(units) else outside
    length = min(length, outside)
    blocks = _flat_blocks(tree, units, branches, _equal(1, len(units)))
    if length == 1 or len(blocks) < len(units):
        return length
    if length < len(units):
        mlps = [is_mlp(tree, block) for block in blocks[:length]]
        return length if any(mlps) and not all(mlps) else 1
    for length in range(2, len(units) + 1):
        starts = range(0, len(units), length)
        if all(mixes_then_widens(tree, blocks[i : i + length]) for i in starts):
            return length
    return 1


def _are_numbered(paths: Sequence[str]) -> bool:
    """Whether the paths are those of different modules, with a number each, of one container."""
    names = [path.rpartition(".")[2] for path in paths]
    one_container = len({parent(path) for path in paths}) == 1
    alike_but_for_numbers = len(set(map(pattern, names))) == 1
    different = len(set(names)) == len(names)
    return one_container and alike_but_for_numbers and different


def _rows(tree: CallTree, units: Iterable[Unit], apart: Collection[fx.Node]) -> list[list[Unit]]:
    rows: list[list[Unit]] = []
    for unit in units:
        if rows and _goes_on(tree, rows[-1], unit, apart):
            rows[-1].append(unit)
        else:
            rows.append([unit])
    return rows


def _goes_on(tree: CallTree, row: Sequence[Unit], unit: Unit, apart: Collection[fx.Node]) -> bool:
    """Whether ``unit`` begins at the end of ``row``, or where that is the only thing in between.

    Other units may lie between, which are no blocks by themselves, and what was split before the
    row's last unit may come together again after it.
    """
    residual = tree.residual
    origin, last = residual.origin(unit), row[-1].add
    if residual.steps_to(origin, last) is not None:
        return True
    steps = residual.steps_to(origin, residual.origin(row[0]), residual.units)
    return steps is not None and last in steps and not any(step in apart for step in steps)


def _period(kinds: Sequence[_Kind], same: Callable[[_Kind, _Kind], bool]) -> int:
    """The smallest length whose repetition makes up ``kinds``."""
    n = len(kinds)
    lengths = (p for p in range(1, n + 1) if n % p == 0)
    return next(p for p in lengths if all(map(same, kinds[p:], kinds)))


def _branch_modules(tree: CallTree, owner: Call | None, unit: Unit) -> list[str]:
    """Paths of the modules that the owner calls to compute the unit's branch.

    Without what it takes from other inputs, which the branches of all blocks may share.
    """
    calls = tree.residual.traced.calls
    order = tree.residual.order
    origin = tree.residual.origin(unit)
    depth = 0 if owner is None else calls[unit.add].index(owner) + 1
    todo, seen = [unit.branch], set()
    while todo:
        node = todo.pop()
        if node in tree.residual.flow and order[node] > order[origin] and node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    made = {origin}
    for node in sorted(seen, key=order.__getitem__):
        if not made.isdisjoint(node.all_input_nodes):
            made.add(node)
    branch = seen & made or seen
    return sorted({calls[node][depth].path for node in branch if len(calls[node]) > depth})


def _flat_blocks(
    tree: CallTree,
    units: Sequence[Unit],
    branches: Sequence[Sequence[str]],
    lengths: Sequence[int],
) -> list[Block]:
    """The blocks of so many units each."""
    names = _names(_cut(branches, lengths))
    ends = [several[-1] for several in _cut(_ends(tree, units), lengths)]
    starts = [tree.residual.origin(units[0]), *ends[:-1]]
    found = (_flat_block(tree, *piece) for piece in zip(names, starts, ends, strict=True))
    return [block for block in found if block is not None]


def _names(blocks: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """What the paths of all branches of a block begin with.

    Where that is one container for all blocks, the block's first module in it.
    """
    paths = [[path for branch in block for path in branch] for block in blocks]
    names = [_common(inside) for inside in paths]
    if len(set(map(tuple, names))) == 1 < len(names):
        names = [
            inside[0].split(".")[: len(name) + 1] for name, inside in zip(names, paths, strict=True)
        ]
    return [".".join(name) for name in names]


def _ends(tree: CallTree, units: Sequence[Unit]) -> list[fx.Node]:
    """Where each unit ends: where the next begins, or behind the norm that follows each of them.

    Where the next one takes a part of the sum only, at its add.
    """
    shape, origin = tree.residual.shape, tree.residual.origin
    pairs = ((unit.add, origin(after)) for unit, after in pairwise(units))
    ends = [start if shape(start) == shape(add) else add for add, start in pairs]
    after = [tree.residual.steps_to(end, unit.add) for unit, end in zip(units, ends, strict=False)]
    last = units[-1].add
    for _ in after[-1:] and (after[-1] or ()):
        users = [user for user in last.users if user.op != "output"]
        last = users[0] if len(users) == 1 else last
    return [*ends, last]


def _flat_block(tree: CallTree, name: str, start: fx.Node, end: fx.Node) -> Block | None:
    order = tree.residual.order
    first, last = order[start], order[end]
    nodes = frozenset(node for node, i in order.items() if first < i <= last)
    path = tree.residual.path(end, nodes)
    return tree.block(name, (path,), nodes) if path is not None and name else None


def _common(paths: Iterable[str]) -> list[str]:
    """The names that all the paths begin with."""
    return list(os.path.commonprefix([path.split(".") for path in paths]))


def _unique_names(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """A module that is called again gives a block for each call: ``layer``, ``layer#2``."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for block in blocks:
        seen[block.name] += 1
        name = block.name if seen[block.name] == 1 else f"{block.name}#{seen[block.name]}"
        named.append(replace(block, name=name))
    return tuple(named)
