"""Stages: rows of neighbouring blocks whose outputs have one shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from torch import fx

from . import positions
from .block_level import parent
from .blocks import find_blocks
from .module_calls import Block, CallTree


@dataclass(frozen=True)
class StageBlock:
    """One block of a stage.

    Attributes:
        name: its module path.
        nodes: everything it computes.
        end: its last output.
        block: the way to skip it; ``None`` for a block without an identity shortcut (it changes
            resolution or width, or just has none).
    """

    name: str
    nodes: frozenset[fx.Node]
    end: fx.Node
    block: Block | None


@dataclass(frozen=True)
class Stage:
    """Rows of blocks with outputs of one shape; several rows lie on parallel branches.

    Attributes:
        name: path of the container that holds just these blocks, else of the first block.
        rows: the blocks of each branch in execution order, also those that cannot be skipped.
        shape: shape of the stage's (last) output for the example input, batch first.
    """

    name: str
    rows: tuple[tuple[StageBlock, ...], ...]
    shape: tuple[int, ...]

    @property
    def blocks(self) -> tuple[StageBlock, ...]:
        """All blocks, branch after branch."""
        return tuple(block for row in self.rows for block in row)

    @property
    def end(self) -> fx.Node:
        """The stage's (last) output."""
        return self.rows[-1][-1].end


def find_stages(tree: CallTree) -> tuple[Stage, ...]:
    """All stages, in execution order; some may have no block that can be skipped."""
    families = _families(tree)
    kinds = {tree.kind(block.name) for family in families.values() for block in family}
    rows: dict[str, list[StageBlock]] = {}
    for container in sorted(families, key=_depth, reverse=True):
        row = [_as_stage_block(block, tree) for block in families[container]]
        row += _alike_siblings(tree, families[container], list(rows.values()))
        rows[container] = sorted(row, key=lambda b: tree.residual.order[b.end])
    stages = [stage for container in families for stage in _split(tree, container, rows[container])]
    stages = _without_nested(stages + _others_alike(tree, stages, kinds))
    stages.sort(key=lambda stage: tree.residual.order[stage.end])
    return tuple(_side_by_side(tree, _join_stragglers(tree, stages)))


def channel_dim(tree: CallTree, block: StageBlock) -> int:
    """Which dimension of the block's output holds channels."""
    return positions.channel_dim(tree, block.end, block.nodes)


def continues(tree: CallTree, one: StageBlock, two: StageBlock, widths: bool = True) -> bool:
    """Whether the outputs have one resolution, and one width if that counts.

    A class token that joins on the way makes no other resolution.
    """
    (channels, positions), (more_channels, more_positions) = _extent(tree, one), _extent(tree, two)
    few, many = sorted((positions, more_positions))
    return many < 2 * few and (channels == more_channels or not widths)


def _as_stage_block(block: Block, tree: CallTree) -> StageBlock:
    """The block, with the last of its outputs as its end, but no vector beside a picture."""

    def rank(end: fx.Node) -> tuple[int, int]:
        return len(tree.residual.shape(end) or ()), tree.residual.order[end]

    tensors = (end for end in block.ends if end in tree.residual.flow)
    return StageBlock(block.name, block.nodes, max(tensors, key=rank), block)


def _families(tree: CallTree) -> dict[str, list[Block]]:
    """The blocks of each container; those below it too, where all of them have one shape."""
    blocks = find_blocks(tree)
    shapes = {block.name: [tree.residual.shape(end) for end in block.ends] for block in blocks}

    def container(name: str) -> str:
        found = above = parent(name)
        while above := parent(above):
            below = [other for other in shapes if other.startswith(above + ".")]
            if any(shapes[other] != shapes[name] for other in below):
                break
            if any(not other.startswith(found + ".") for other in below):
                found = above
        return found

    families: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        families[container(block.name)].append(block)
    return families


def _depth(container: str) -> int:
    """How far below the network itself; its own path is empty."""
    return len(container.split(".")) if container else 0


def _alike_siblings(
    tree: CallTree, family: Sequence[Block], deeper: Sequence[Sequence[StageBlock]]
) -> list[StageBlock]:
    """Blocks beside those of ``family`` that have no identity shortcut: ``layer2.0`` of a ResNet.

    A sibling counts when it is of the kind of one of them or merges two branches itself, but not
    when it holds one of the ``deeper`` rows: then it is a stage.
    """
    kinds = {tree.kind(block.name) for block in family}
    containers = {parent(block.name) for block in family}
    taken = {node for block in family for node in block.nodes}
    found = []
    for call, nodes in tree.nodes.items():
        if parent(call.path) not in containers or nodes & taken or call in tree.removable:
            continue
        if any(sum(block.nodes <= nodes for block in row) > 1 for row in deeper):
            continue
        flow_exits = [n for n in tree.exits(call) if n in tree.residual.flow]
        if flow_exits and (tree.kind(call.path) in kinds or tree.residual.merges(nodes)):
            found.append(StageBlock(call.path, nodes, flow_exits[-1], None))
    return found


def _others_alike(tree: CallTree, stages: Sequence[Stage], kinds: set[object]) -> list[Stage]:
    """Stages elsewhere of blocks of the same kinds, none of which has an identity shortcut."""
    known = {node for stage in stages for block in stage.blocks for node in block.nodes}
    found = []
    for call, nodes in tree.nodes.items():
        if tree.kind(call.path) not in kinds or nodes & known:
            continue
        flow_exits = [n for n in tree.exits(call) if n in tree.residual.flow]
        if flow_exits:
            alone = StageBlock(call.path, nodes, flow_exits[-1], None)
            found.append(Stage(call.path, ((alone,),), tree.residual.shape(alone.end) or ()))
    return found


def _split(tree: CallTree, container: str, row: Sequence[StageBlock]) -> list[Stage]:
    """Cut a row of blocks into stages.

    A container of one resolution is one stage, whatever widths its blocks have. A list of blocks
    of the whole network is cut where the resolution or the width changes.
    """
    runs: list[list[StageBlock]] = []
    widths = _resolutions(tree, row) > 1
    for block in row:
        if runs and continues(tree, runs[-1][-1], block, widths):
            runs[-1].append(block)
        else:
            runs.append([block])
    return [
        Stage(
            container if len(runs) == 1 and container else run[0].name,
            (tuple(run),),
            tree.residual.shape(run[-1].end) or (),
        )
        for run in runs
    ]


def _resolutions(tree: CallTree, row: Sequence[StageBlock]) -> int:
    changes = (not continues(tree, one, two, widths=False) for one, two in pairwise(row))
    return 1 + sum(changes)


def _extent(tree: CallTree, block: StageBlock) -> tuple[int, int]:
    """How many channels the block's output has, and how many positions."""
    shape = tree.residual.shape(block.end) or (1, 1)
    channels = shape[channel_dim(tree, block)]
    return channels, prod(shape[1:]) // channels


def _without_nested(stages: Sequence[Stage]) -> list[Stage]:
    """Drop what lies inside a block of another stage (a unit inside a residual branch)."""
    members = [{node for block in stage.blocks for node in block.nodes} for stage in stages]
    return [
        stage
        for i, stage in enumerate(stages)
        if not any(members[i] < other for j, other in enumerate(members) if i != j)
    ]


def _join_stragglers(tree: CallTree, stages: Sequence[Stage]) -> list[Stage]:
    """Put a lone block beside the container of a row of its kind onto that row (``block8``)."""
    joined: list[Stage] = []
    for stage in stages:
        before = joined[-1] if joined else None
        first = stage.blocks[0].block
        if (
            before is not None
            and first is not None
            and len(stage.blocks) == 1 < len(before.blocks)
            and before.end in first.starts
            and parent(stage.blocks[0].name) == parent(before.name)
            and _kind(tree, before) == _kind(tree, stage)
        ):
            joined[-1] = replace(before, rows=(before.blocks + stage.blocks,))
        else:
            joined.append(stage)
    return joined


def _side_by_side(tree: CallTree, stages: Sequence[Stage]) -> list[Stage]:
    """Make one stage of rows that lie on parallel branches of one module (HRNet)."""
    grouped: list[Stage] = []
    for stage in stages:
        before = grouped[-1] if grouped else None
        if (
            before is not None
            and parent(before.blocks[-1].name) != parent(stage.blocks[0].name)
            and _kind(tree, before) == _kind(tree, stage)
            and _branches_of_one_module(before, stage)
            and not any(row[-1].end in tree.residual.leading_to(stage.end) for row in before.rows)
        ):
            branches = parent(parent(stage.blocks[0].name))
            grouped[-1] = Stage(branches, before.rows + stage.rows, stage.shape)
        else:
            grouped.append(stage)
    return grouped


def _branches_of_one_module(one: Stage, other: Stage) -> bool:
    containers = {parent(parent(block.name)) for block in one.blocks + other.blocks}
    return len(containers) == 1 and containers != {""}


def _kind(tree: CallTree, stage: Stage) -> object:
    return tree.kind(stage.blocks[-1].name)
