"""What a skipped stage changes in the layers that stay: norms with a twin, low-rank additions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import fx

from ..errors import PlanError
from ..graph.behaviour import is_linear_in_weight
from ..graph.module_calls import CallTree
from ..graph.stages import Stage
from .cut import Kept
from .plan import Addition, TwinNorm

Twins = Literal["mandatory", "all", "none"]


def choose_twins(
    tree: CallTree,
    norms: frozenset[str],
    kept: Kept,
    twin_norms: Twins,
) -> tuple[TwinNorm, ...]:
    """The norms that get a twin, each with the first stage whose letter it follows."""
    if twin_norms not in ("mandatory", "all", "none"):
        raise PlanError(f"got twin_norms={twin_norms!r}; expected 'mandatory', 'all' or 'none'")
    if twin_norms == "none":
        return ()
    skipped: set[fx.Node] = set()
    left: dict[fx.Node, int] = {}  # what a skipped block still computes
    for number, (cut, names) in enumerate(kept):
        for block in (b.block for b in cut.blocks if b.name in names and b.block):
            skipped |= block.skipped
            left |= dict.fromkeys(block.nodes - block.skipped, number)
    ends = [_mandatory_end(stage, names) for stage, names in kept]
    before = [tree.residual.leading_to(end) for end in ends]
    first = {n for block in kept[0][0].blocks for n in block.nodes}
    projections = _projections(tree, kept)
    twins: dict[str, int] = {}
    for node in tree.residual.flow:
        if not isinstance(node, fx.Node) or str(node.target) not in norms or node in skipped:
            continue
        stage = left.get(node, next((i for i, nodes in enumerate(before) if node in nodes), None))
        if twin_norms == "all":
            stage = len(kept) - 1 if stage is None else stage
        elif stage is None or node in projections or (stage == 0 and node not in first):
            continue
        # A norm that is called again keeps the letter of its first call.
        twins.setdefault(str(node.target), stage)
    return tuple(TwinNorm(path, stage) for path, stage in twins.items())


def choose_additions(tree: CallTree, kept: Kept, rank: int) -> tuple[Addition, ...]:
    """One for each linear layer and convolution (without groups) inside the mandatory blocks."""
    if type(rank) is not int or rank < 0:
        raise PlanError(f"got low_rank={rank!r}; expected a rank of 1 or more, or 0 for none")
    inside = {
        block.name: number
        for number, (stage, skippable) in enumerate(kept)
        for block in stage.blocks
        if block.name not in skippable
    }
    found: dict[str, Addition] = {}
    for node in tree.residual.flow if rank else ():
        if not isinstance(node, fx.Node) or node.op != "call_module":
            continue
        path = str(node.target)
        names = path.split(".")
        around = (".".join(names[:end]) for end in range(len(names), 0, -1))
        stage = next((inside[name] for name in around if name in inside), None)
        layer: Any = tree.residual.modules[path]
        if stage is not None and is_linear_in_weight(layer):
            channels = len(layer.weight)
            found[path] = Addition(
                path, stage, min(rank, channels, layer.weight[0].numel()), channels
            )
    return tuple(found.values())


def _mandatory_end(stage: Stage, skippable: Sequence[str]) -> fx.Node:
    return [block.end for block in stage.blocks if block.name not in skippable][-1]


def _projections(tree: CallTree, kept: Kept) -> frozenset[fx.Node]:
    """What projection shortcuts compute (ResNet's ``downsample``)."""
    blocks = (block for stage, _ in kept for block in stage.blocks if block.block is None)
    return frozenset(node for block in blocks for node in tree.residual.projections(block.nodes))
