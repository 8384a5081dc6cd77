"""The level at which blocks lie: siblings that follow one another, in a stage or in the network.

Nested calls are often all skippable: a stage, its blocks, the attention and the MLP of one block.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import combinations

from .module_calls import CallTree
from .positions import mixes_then_widens
from .similarity import alike
from .traced_graph import Call

Level = frozenset[tuple[str, object]]
Same = Callable[[Call, Call], bool]


def block_level(tree: CallTree, holds_row: Callable[[Call], bool]) -> Level:
    """Patterns of paths, and kinds, at which skippable siblings follow one another in a row.

    Siblings that are equal inside make a row. Where there are none, above or below, siblings that
    are alike on the outside do; and where there are none of these, unlike siblings in one
    container, but for the parts of one block. Siblings that are themselves rows of one kind of
    part are stages, not blocks.

    Args:
        tree: the calls of the model.
        holds_row: whether a call's own forward adds the branches of several blocks.
    """

    def equal(one: Call, other: Call) -> bool:
        return tree.signature(one.path) == tree.signature(other.path)

    def similar(one: Call, other: Call) -> bool:
        return alike(tree.modules[one.path], tree.modules[other.path])

    families = _families(tree)
    level: Level = frozenset()
    for same in (equal, similar):
        rows = [
            siblings
            for siblings in families
            if _is_undecided(tree, siblings, level)
            and not any(_is_row(tree, call, same) for call in siblings)
            and any(_repeats(chain, same) for chain in _chains(tree, siblings))
        ]
        level = level.union(*(_places(tree, siblings) for siblings in rows))
    times = Counter(_content(tree, siblings) for siblings in families)
    for siblings in sorted(families, key=_depth, reverse=True):
        again = times[_content(tree, siblings)] > 1
        if (
            _is_undecided(tree, siblings, level)
            and not any(_is_row(tree, call, similar) or holds_row(call) for call in siblings)
            and any(_follows(tree, chain, again) for chain in _chains(tree, siblings))
        ):
            level |= _places(tree, siblings)
    return level


def is_at(tree: CallTree, call: Call, level: Level) -> bool:
    """Whether ``call`` is a block of that level."""
    return place(tree, call) in level


def place(tree: CallTree, call: Call) -> tuple[str, object]:
    """Where ``call`` lies, and its kind."""
    return pattern(call.path), tree.kind(call.path)


def pattern(path: str) -> str:
    """A path with its numbers left out."""
    return re.sub(r"\d+", "*", path)


def parent(path: str) -> str:
    """Path of the container that holds the module at ``path``."""
    return path.rpartition(".")[0]


def parts(tree: CallTree, call: Call) -> list[Call]:
    """The outermost skippable calls inside ``call`` that lie on its way from input to output."""
    spine = {unit.add for path in tree.skippable[call].paths for unit in path.units}
    return [
        other
        for other, block in tree.skippable.items()
        if enclosing(tree, other, tree.skippable) == call
        and all(unit.add in spine for path in block.paths for unit in path.units)
    ]


def inside(tree: CallTree, call: Call) -> list[Call]:
    """All skippable calls inside ``call``."""
    nodes = tree.nodes[call]
    return [other for other in tree.skippable if other != call and tree.nodes[other] <= nodes]


def enclosing(tree: CallTree, call: Call, among: Container[Call] | None = None) -> Call | None:
    """The innermost call around ``call`` that is removable, or ``among`` others."""
    outer = [other for other in around(tree, call) if other in (among or tree.removable)]
    return outer[-1] if outer else None


def around(tree: CallTree, call: Call) -> tuple[Call, ...]:
    """The calls that ``call`` was made in, outermost first."""
    stack = tree.residual.traced.calls[next(iter(tree.nodes[call]))]
    return stack[: stack.index(call)]


def _families(tree: CallTree) -> list[list[Call]]:
    """The skippable calls with a number, or made several times, of each container."""
    families: dict[str, list[Call]] = defaultdict(list)
    times = Counter(call.path for call in tree.skippable)
    for call in tree.skippable:
        if _is_numbered(call) or times[call.path] > 1:
            families[parent(call.path)].append(call)
    return list(families.values())


def _is_numbered(call: Call) -> bool:
    return re.search(r"\d", call.path.rpartition(".")[2]) is not None


def _may_be_siblings(one: Call, other: Call) -> bool:
    """Whether both have numbers, or are calls of one module."""
    return one.path == other.path or (_is_numbered(one) and _is_numbered(other))


def _places(tree: CallTree, siblings: Sequence[Call]) -> Level:
    return frozenset(place(tree, call) for call in siblings)


def _content(tree: CallTree, siblings: Sequence[Call]) -> tuple[str, ...]:
    return tuple(tree.signature(call.path) for call in siblings)


def _depth(siblings: Sequence[Call]) -> int:
    return siblings[0].path.count(".")


def _is_undecided(tree: CallTree, siblings: Sequence[Call], level: Level) -> bool:
    """Whether these calls are not all known as blocks, and no row is known above or below them."""
    if not level:
        return True
    beyond = (other for call in siblings for other in (*around(tree, call), *inside(tree, call)))
    return not (
        all(is_at(tree, call, level) for call in siblings)
        or any(is_at(tree, other, level) for other in beyond)
    )


def _is_row(tree: CallTree, call: Call, same: Same) -> bool:
    """Whether the parts of ``call`` are numbered and alike; names tell parts of one block apart."""
    first, *others = parts(tree, call) or [call]
    return bool(others) and all(
        same(first, other) and _may_be_siblings(first, other) for other in others
    )


def _repeats(chain: Sequence[Call], same: Same) -> bool:
    return any(same(*pair) for pair in combinations(chain, 2))


def _follows(tree: CallTree, chain: Sequence[Call], again: bool) -> bool:
    """Whether a chain of unlike calls is a row of blocks, and not the parts of one.

    Attention or a convolution and then an MLP are parts of one block if both are in wrappers of
    one class, or come ``again`` elsewhere in the same way.
    """
    if len(chain) < 2 or len({pattern(call.path) for call in chain}) > 1:
        return False
    classes = {type(tree.modules[call.path]) for call in chain}
    blocks = [tree.skippable[call] for call in chain]
    return not ((again or len(classes) == 1) and mixes_then_widens(tree, blocks))


def _chains(tree: CallTree, calls: Sequence[Call]) -> Iterator[list[Call]]:
    """The calls in rows in which each takes in what the one before gives out, or some of it."""
    chain: list[Call] = []
    for call in calls:
        starts = tree.skippable[call].starts
        if chain and starts.isdisjoint(tree.skippable[chain[-1]].ends):
            yield chain
            chain = []
        chain.append(call)
    yield chain
