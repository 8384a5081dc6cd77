"""Which stages are cut, and which of their blocks can be skipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..errors import PlanError
from ..graph.module_calls import CallTree
from ..graph.skipped_output import NoSkippedOutputError, handed_back
from ..graph.stages import Stage, StageBlock, continues

Share = int | float
Skippable = Share | Sequence[Share] | Literal["all"] | None
Kept = Sequence[tuple[Stage, tuple[str, ...]]]
"""The stages that are cut, each with the names of its skippable blocks."""


def without_unhandable(
    tree: CallTree, stages: Sequence[Stage]
) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """The stages with blocks that can be skipped in place; the others always run, and why."""
    refused: dict[str, str] = {}

    def checked(item: StageBlock) -> StageBlock:
        try:
            if item.block is not None:
                handed_back(tree, item.block)
        except NoSkippedOutputError as error:
            refused[item.name] = str(error)
            return replace(item, block=None)
        return item

    rows = [tuple(tuple(map(checked, row)) for row in stage.rows) for stage in stages]
    return tuple(replace(s, rows=r) for s, r in zip(stages, rows, strict=True)), refused


def cut_isotropic(tree: CallTree, stages: Sequence[Stage], groups: int | None) -> list[Stage]:
    """Cut the one row of blocks of an isotropic network into groups of equal size."""
    stages = _without_head(tree, stages)
    isotropic = len(stages) == 1 == len(stages[0].rows) and all(b.block for b in stages[0].blocks)
    if not isotropic:
        if groups is not None and stages:
            raise PlanError(
                f"got groups={groups} for a network with {len(stages)} stages of its own; expected "
                "an isotropic network, with one row of blocks. Leave groups out, or use "
                "skippable=... or blocks=..."
            )
        return list(stages)
    row = stages[0].blocks
    if groups is None:
        groups = max(1, min(4, len(row) // 2))
    if not 1 <= groups <= len(row):
        raise PlanError(f"got groups={groups}; expected 1 to {len(row)}, the number of blocks")
    size, larger = divmod(len(row), groups)
    cut, start = [], 0
    for i in range(groups):
        part = row[start : start + size + (i < larger)]
        start += len(part)
        name = part[0].name if groups > 1 else stages[0].name
        shape = tree.residual.shape(part[-1].end)
        cut.append(Stage(name, (part,), shape or ()))
    return cut


def _without_head(tree: CallTree, stages: Sequence[Stage]) -> Sequence[Stage]:
    """Without the few blocks for the class token that end a row of equals (CaiT, XCiT)."""
    longest = max(stages, key=lambda stage: len(stage.blocks), default=None)
    if longest is None or not all(
        continues(tree, longest.blocks[-1], s.blocks[-1]) for s in stages
    ):
        return stages
    return [stage for stage in stages if 4 * len(stage.blocks) >= len(longest.blocks)]


def blocks_per_row(stages: Sequence[Stage], skippable: Skippable) -> list[list[int]]:
    """How many blocks to skip at the end of each row of each stage."""
    if skippable is None:
        return [[len(row) // 2 for row in stage.rows] for stage in stages]
    if skippable == "all":
        return [[len(row) - 1 for row in stage.rows] for stage in stages]
    if isinstance(skippable, (int, float)):
        shares: Sequence[Share] = [skippable] * len(stages)
    else:
        shares = list(skippable)
    if len(shares) != len(stages):
        depths = ", ".join(f"{stage.name}: {len(stage.blocks)}" for stage in stages)
        raise PlanError(
            f"got {len(shares)} entries in skippable; expected one number or {len(stages)}, one "
            f"for each stage with more than one block ({depths})"
        )
    return [
        [_count(stage.name, row, share) for row in stage.rows]
        for stage, share in zip(stages, shares, strict=True)
    ]


def _count(stage: str, row: Sequence[StageBlock], share: Share) -> int:
    n = len(row)
    most = sum(1 for block in row[1:] if block.block)
    count = math.floor(share * n) if isinstance(share, float) else share
    valid = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not valid or (isinstance(share, float) and not 0 <= share < 1) or not 0 <= count <= most:
        raise PlanError(
            f"got skippable={share!r} for stage {stage} with {n} blocks; expected a number "
            f"from 0 to {most}, or a share of at least 0.0 and below 1.0 (the first block always "
            "runs)"
        )
    return count


def last_blocks(stages: Sequence[Stage], counts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """The last ``count`` blocks of each row, without those that have no identity shortcut."""
    return [
        tuple(
            block.name
            for row, count in zip(stage.rows, several, strict=True)
            for block in row[len(row) - count :]
            if block.block
        )
        for stage, several in zip(stages, counts, strict=True)
    ]


def named_blocks(stages: Sequence[Stage], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Of each stage the blocks that are named; every name must be one that can be skipped."""
    can_skip = {b.name for stage in stages for b in stage.blocks if b.block}
    wrong = [name for name in names if name not in can_skip]
    if wrong or isinstance(names, str) or not names:
        raise PlanError(
            f"got blocks={list(wrong or names)!r}; expected module paths of blocks with an "
            f"identity shortcut: {listed(sorted(can_skip, key=natural))}"
        )
    chosen = [tuple(b.name for b in stage.blocks if b.name in names) for stage in stages]
    for stage, picked in zip(stages, chosen, strict=True):
        if len(picked) == len(stage.blocks):
            raise PlanError(
                f"got all {len(picked)} blocks of stage {stage.name} in blocks; expected at least "
                "one block of each stage to stay mandatory"
            )
    return chosen


def can_be_cut(stage: Stage) -> bool:
    """Whether one of its blocks has an identity shortcut."""
    return any(block.block for block in stage.blocks)


def skippable_blocks(kept: Kept) -> list[StageBlock]:
    """All of them, in order."""
    return [block for stage, names in kept for block in stage.blocks if block.name in names]


def natural(path: str) -> list[tuple[int, str]]:
    """Sort key that puts ``layer1.10`` after ``layer1.9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
