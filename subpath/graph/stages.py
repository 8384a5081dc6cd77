"""Stages: rows of neighbouring blocks whose outputs have one shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from torch import fx

from .blocks import Block, CallTree, find_blocks, parent


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
    """A row of blocks with outputs of one shape, in execution order.

    Attributes:
        name: path of the container that holds just these blocks, else of the first block.
        blocks: all blocks of the stage, also those that cannot be skipped.
        shape: shape of the stage's output for the example input, batch first.
    """

    name: str
    blocks: tuple[StageBlock, ...]
    shape: tuple[int, ...]

    @property
    def end(self) -> fx.Node:
        """The stage's output."""
        return self.blocks[-1].end


def find_stages(tree: CallTree) -> tuple[Stage, ...]:
    """All stages, in execution order; some may have no block that can be skipped."""
    blocks = find_blocks(tree)
    families: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        families[parent(block.name)].append(block)
    kinds = {tree.kind(block.name) for block in blocks}
    stages: list[Stage] = []
    for container, family in families.items():
        row = [_as_stage_block(block, tree) for block in family]
        row += _alike_siblings(tree, container, family, kinds)
        row.sort(key=lambda b: tree.residual.order[b.end])
        stages += _split_by_shape(tree, container, row)
    stages = _without_nested(stages + _others_alike(tree, stages, kinds))
    stages.sort(key=lambda stage: tree.residual.order[stage.end])
    return tuple(_join_stragglers(tree, stages))


def channel_dim(tree: CallTree, stage: Stage) -> int:
    """Which dimension of the stage's output holds channels, read off the weights that meet it.

    The first layer with weights in the stage's last block that takes a tensor of the output's
    shape tells: a convolution 1, a linear layer the last, a norm the dimension of its own length.
    """
    residual, last = tree.residual, len(stage.shape) - 1
    for node in sorted(stage.blocks[-1].nodes, key=residual.order.__getitem__):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node):
            continue
        if residual.shape(source) != stage.shape:
            continue
        for parameter in tree.modules[str(node.target)].parameters(recurse=False):
            if parameter.ndim > 1:
                return 1 if parameter.ndim > 2 else last
            fitting = [i for i in range(1, last + 1) if stage.shape[i] == parameter.numel()]
            if len(fitting) == 1:
                return fitting[0]
    return 1 if last == 3 and stage.shape[2] == stage.shape[3] else last


def _as_stage_block(block: Block, tree: CallTree) -> StageBlock:
    tensors = (end for end in block.ends if end in tree.residual.flow)
    end = max(tensors, key=tree.residual.order.__getitem__)
    return StageBlock(block.name, block.nodes, end, block)


def _alike_siblings(
    tree: CallTree, container: str, family: Sequence[Block], kinds: set[object]
) -> list[StageBlock]:
    """Blocks beside those of ``family`` that have no identity shortcut: ``layer2.0`` of a ResNet.

    A sibling counts when it is of a kind that is a block elsewhere or merges two branches itself.
    """
    taken = {node for block in family for node in block.nodes}
    found = []
    for call, nodes in tree.nodes.items():
        if parent(call.path) != container or nodes & taken:
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
            found.append(Stage(call.path, (alone,), tree.residual.shape(alone.end) or ()))
    return found


def _split_by_shape(tree: CallTree, container: str, row: Sequence[StageBlock]) -> list[Stage]:
    def shape(block: StageBlock) -> tuple[int, ...]:
        return tree.residual.shape(block.end) or ()

    runs = [(key, tuple(run)) for key, run in groupby(row, key=shape)]
    return [
        Stage(container if len(runs) == 1 and container else run[0].name, run, key)
        for key, run in runs
    ]


def _without_nested(stages: Sequence[Stage]) -> list[Stage]:
    """Drop what lies inside a block of another stage (a unit inside a residual branch)."""
    members = [{node for block in stage.blocks for node in block.nodes} for stage in stages]
    return [
        stage
        for i, stage in enumerate(stages)
        if not any(members[i] < other for j, other in enumerate(members) if i != j)
    ]


def _join_stragglers(tree: CallTree, stages: Sequence[Stage]) -> list[Stage]:
    """Put a lone block that continues a row of its own kind onto that row (``block8``)."""

    def kind(stage: Stage) -> object:
        return tree.kind(stage.blocks[-1].name)

    joined: list[Stage] = []
    for stage in stages:
        before = joined[-1] if joined else None
        first = stage.blocks[0].block
        if (
            before is not None
            and first is not None
            and len(stage.blocks) == 1 < len(before.blocks)
            and before.end in first.starts
            and kind(before) == kind(stage)
        ):
            joined[-1] = replace(before, blocks=before.blocks + stage.blocks)
        else:
            joined.append(stage)
    return joined
