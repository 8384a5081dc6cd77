"""Make a plan: it decides and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import fx

from ..errors import NoResidualError, PlanError
from ..graph.module_calls import CallTree
from ..graph.refusal import findings
from ..graph.skipped_output import given_at, handed_back, returned_at, which_call
from ..graph.stages import Stage, StageBlock, channel_dim, find_stages
from .cut import (
    Kept,
    Skippable,
    blocks_per_row,
    can_be_cut,
    cut_isotropic,
    last_blocks,
    listed,
    named_blocks,
    natural,
    skippable_blocks,
    without_unhandable,
)
from .plan import HandBack, Opaque, Plan, Run, Side, StageEnd, StagePlan
from .skip_aware import Twins, choose_additions, choose_twins


def make_plan(
    tree: CallTree,
    norms: frozenset[str],
    *,
    groups: int | None = None,
    skippable: Skippable = None,
    blocks: Sequence[str] | None = None,
    twin_norms: Twins = "mandatory",
    low_rank: int = 0,
    run: Run = "graph",
    why: str = "",
) -> Plan:
    """Decide how to cut a network that was read.

    Args:
        tree: the calls of the network.
        norms: paths of its normalisation layers.
        groups: into how many stages an isotropic network is cut (default 4).
        skippable: how many blocks at the end of each stage are skippable: a number, a share of
            the stage's blocks below 1.0, ``"all"`` but the first, or one of the numbers for each
            stage; by default
            ``n - ceil(n / 2)`` of ``n`` (paper, section 3.1).
        blocks: the exact blocks to make skippable, by module path, instead of ``skippable``.
        twin_norms: ``"mandatory"`` twins the norms of mandatory sub-paths but not those of
            projection shortcuts (as published), ``"all"`` every norm outside the skippable
            sub-paths, ``"none"`` no norm.
        low_rank: of the additions to the layers of mandatory blocks; 0: they get none.
        run: the way of running; in place, only what can be handed back is skipped.
        why: why that way.

    Raises:
        NoResidualError: no stage has a block that could be skipped.
        PlanError: the arguments do not fit the network.
    """
    stages: Sequence[Stage] = find_stages(tree)
    kept_back: dict[str, str] = {}
    if run == "in place":
        stages, kept_back = without_unhandable(tree, stages)
        why = "; ".join([why, *(f"{name} always runs: {said}" for name, said in kept_back.items())])
    found = cut_isotropic(tree, stages, groups)
    candidates = [stage for stage in found if len(stage.blocks) > 1 and can_be_cut(stage)]
    if blocks is not None and skippable is not None:
        raise PlanError("got both skippable=... and blocks=...; expected at most one of them")
    if blocks is not None:
        chosen = named_blocks(candidates, blocks)
    else:
        chosen = last_blocks(candidates, blocks_per_row(candidates, skippable))
    kept = [(stage, names) for stage, names in zip(candidates, chosen, strict=True) if names]
    if not kept and candidates and skippable is not None:
        raise PlanError(
            f"got skippable={skippable!r}, which leaves every stage whole; expected at least one "
            f"block to skip in one of {listed([stage.name for stage in candidates])}"
        )
    if not kept:
        raise _nothing_found(tree, found, norms, kept_back)
    twins = choose_twins(tree, norms, kept, twin_norms)
    additions = choose_additions(tree, kept, low_rank)
    changed = {t.path for t in twins} | {a.path for a in additions}
    return Plan(
        stages=tuple(
            StagePlan(
                name=stage.name,
                blocks=tuple(block.name for block in stage.blocks),
                skippable=names,
                output_shape=stage.shape[1:],
                channel_dim=channel_dim(tree, stage.blocks[-1]),
            )
            for stage, names in kept
        ),
        twin_norms=twins,
        opened=_to_open(tree, kept, changed) if run == "graph" else (),
        opaque=tuple(Opaque(*item) for item in sorted(tree.residual.traced.opaque.items())),
        run=run,
        why=why,
        hands_back=_hands_back(tree, kept) if run == "in place" else (),
        ends=tuple(_stage_end(tree, s.blocks[-1]) for s, _ in kept) if run == "in place" else (),
        additions=additions,
    )


def _hands_back(tree: CallTree, kept: Kept) -> tuple[HandBack, ...]:
    blocks = [item.block for item in skippable_blocks(kept) if item.block is not None]
    return tuple(
        HandBack(block.name, call.path, which_call(tree, call), result)
        for block in blocks
        for call, result in handed_back(tree, block)
    )


def _stage_end(tree: CallTree, last: StageBlock) -> StageEnd | None:
    side: Side
    try:
        side, (call, place) = "returned", returned_at(tree, last.nodes, last.end)
    except LookupError:
        try:
            side, (call, place) = "given", given_at(tree, last.end)
        except LookupError:
            return None
    copied = tree.residual.is_written_after(last.end)
    return StageEnd(call.path, which_call(tree, call), side, place, copied)


def _nothing_found(
    tree: CallTree, stages: Sequence[Stage], norms: frozenset[str], refused: Mapping[str, str]
) -> NoResidualError:
    opaque = sorted(tree.residual.traced.opaque)
    hidden = f" {len(opaque)} modules could not be looked into: {listed(opaque)}." if opaque else ""
    refusals = [f"{name} cannot be skipped in place: {why}." for name, why in refused.items()]
    hidden += "".join(f" {text}" for text in refusals[:3])
    return NoResidualError(
        "got a network without a stage to cut; expected at least one row of two or more blocks of "
        "one resolution, the last with an identity shortcut. Found "
        f"{findings(tree, stages, norms)}.{hidden} Only what is added onto an identity shortcut "
        "can be skipped; a deeper variant of this network may have rows of such blocks",
        tuple(opaque),
    )


def _to_open(
    tree: CallTree,
    kept: Kept,
    changed: Collection[str],
) -> tuple[str, ...]:
    """Modules that hold a gate or a module that changes, and the modules around them."""
    calls = tree.residual.traced.calls
    opened: set[str] = set()
    for block in skippable_blocks(kept):
        assert block.block is not None
        for path in block.block.paths:
            opened.update(call.path for n in path.steps for call in _opened_calls(tree, n))
    for node, stack in calls.items():
        if str(node.target) in changed and node.op == "call_module":
            opened.update(call.path for call in stack[:-1])
    return tuple(sorted(opened, key=natural))


def _opened_calls(tree: CallTree, node: fx.Node) -> Sequence[Any]:
    stack = tree.residual.traced.calls[node]
    return stack[:-1] if node.op == "call_module" else stack
