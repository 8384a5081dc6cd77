"""The plan: which blocks of which stage are mandatory, which skippable, which norms get twins.

Making a plan decides and changes nothing; a :class:`Plan` is plain frozen data that prints,
compares and round-trips through JSON, and it is all that crosses from reading a graph to writing
one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from torch import fx

from .errors import NoResidualError, PlanError
from .graph.behaviour import is_linear_in_weight
from .graph.module_calls import CallTree
from .graph.refusal import findings
from .graph.skipped_output import (
    NoSkippedOutputError,
    Template,
    given_at,
    handed_back,
    returned_at,
    which_call,
)
from .graph.stages import Stage, StageBlock, channel_dim, continues, find_stages
from .graph.tensors import Place

Run = Literal["graph", "in place"]
Side = Literal["returned", "given"]
Twins = Literal["mandatory", "all", "none"]
Share = int | float
Skippable = Share | Sequence[Share] | Literal["all"] | None


@dataclass(frozen=True)
class StagePlan:
    """One residual stage that can be skipped.

    Attributes:
        name: a module path: the container of the blocks, else the first block.
        blocks: module paths of all blocks, in execution order.
        skippable: the blocks of the skippable sub-path.
        output_shape: shape of the stage's output for the example input, without the batch.
        channel_dim: which dimension of the (batched) output holds the channels.
    """

    name: str
    blocks: tuple[str, ...]
    skippable: tuple[str, ...]
    output_shape: tuple[int, ...]
    channel_dim: int

    @property
    def mandatory(self) -> tuple[str, ...]:
        """The blocks that always run."""
        return tuple(block for block in self.blocks if block not in self.skippable)


@dataclass(frozen=True)
class TwinNorm:
    """A norm with a twin that takes its place when stage number ``stage`` (from 0) is skipped."""

    path: str
    stage: int


@dataclass(frozen=True)
class Patch:
    """A linear map over channels, added to the stream where a skipped stage ends.

    When the stage is skipped, the value ``h`` at its end becomes ``h + P(h)``; otherwise the patch
    has no part in anything. It stands in for what the skipped blocks would have added.

    Attributes:
        stage: number of the stage (from 0) whose letter brings it in.
        number: which of the stage's ends it is at, from 0; most stages have one.
        channels: of ``h``.
        channel_dim: which dimension of ``h`` (batched) holds them: 1, or the last.
        dims: how many dimensions ``h`` has.
        rank: of the map; ``None``: a full one.
    """

    stage: int
    number: int
    channels: int
    channel_dim: int
    dims: int
    rank: int | None = None

    @property
    def weights(self) -> int:
        """Its multiply-adds for one place (a pixel, a token)."""
        return self.channels * (self.channels if self.rank is None else 2 * self.rank)


@dataclass(frozen=True)
class Addition:
    """A low-rank change of a mandatory layer's weight, in effect where its stage is skipped.

    Attributes:
        path: of the layer, a linear map or a convolution.
        stage: number of the stage (from 0) whose letter brings it in.
        rank: of the change.
        channels: of the layer's output.
    """

    path: str
    stage: int
    rank: int
    channels: int


@dataclass(frozen=True)
class Opaque:
    """A module that torch.fx cannot look into, and why. It is called whole; nothing is lost."""

    path: str
    reason: str


@dataclass(frozen=True)
class HandBack:
    """What a block, or a part of it, returns when the block is skipped in place.

    Attributes:
        block: the block's name; for a later call of one module with ``#`` and its number.
        path: the module that returns it: the block itself, or one of several parts that an outer
            forward calls.
        call: which call of that module it is, from 0; ``None`` if it is the only one.
        result: what it returns, of its arguments (see :mod:`subpath.graph.skipped_output`).
    """

    block: str
    path: str
    call: int | None
    result: Template


@dataclass(frozen=True)
class StageEnd:
    """Where the output of a stage that runs in place is found.

    Attributes:
        path: a module that returns it or is given it.
        call: which call of it, from 0; ``None`` if it is the only one.
        side: which of the two.
        place: keys that lead to it in what the module returns, or in its arguments.
        copied: whether something writes into its memory later.
    """

    path: str
    call: int | None
    side: Side
    place: Place
    copied: bool


@dataclass(frozen=True)
class Plan:
    """How a network is cut (Kang and Lee, section 3.1).

    Attributes:
        stages: the stages with a skippable sub-path, one letter of a skip config each.
        twin_norms: the norms that get a twin.
        opened: modules whose forward is traced through; all others are called whole.
        opaque: modules that could not be looked into.
        run: ``"graph"``: straight-line code made from the network's graph; ``"in place"``: the
            network's own forward, whose skipped blocks hand back what they are given.
        why: why it runs so, and what kept some blocks from being skipped, in words.
        hands_back: in place, of each skippable block.
        ends: in place, of each stage; ``None`` where no module returns it or is given it.
        patches: linear maps at the ends of skipped stages.
        additions: low-rank changes of mandatory layers where their stage is skipped.
    """

    stages: tuple[StagePlan, ...]
    twin_norms: tuple[TwinNorm, ...]
    opened: tuple[str, ...]
    opaque: tuple[Opaque, ...] = ()
    run: Run = "graph"
    why: str = ""
    hands_back: tuple[HandBack, ...] = ()
    ends: tuple[StageEnd | None, ...] = ()
    patches: tuple[Patch, ...] = ()
    additions: tuple[Addition, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain lists, dicts, strings and numbers."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Any) -> Plan:
        """The plan that :meth:`to_dict` gave.

        Raises:
            PlanError: ``data`` is not such a plan.
        """
        try:
            return cls(
                stages=tuple(
                    StagePlan(
                        name=str(stage["name"]),
                        blocks=_paths(stage["blocks"]),
                        skippable=_paths(stage["skippable"]),
                        output_shape=tuple(int(n) for n in stage["output_shape"]),
                        channel_dim=int(stage["channel_dim"]),
                    )
                    for stage in data["stages"]
                ),
                twin_norms=tuple(
                    TwinNorm(str(twin["path"]), int(twin["stage"])) for twin in data["twin_norms"]
                ),
                opened=_paths(data["opened"]),
                opaque=tuple(
                    Opaque(str(item["path"]), str(item["reason"])) for item in data["opaque"]
                ),
                run="in place" if data.get("run", "graph") == "in place" else "graph",
                why=str(data.get("why", "")),
                hands_back=tuple(
                    HandBack(
                        str(item["block"]),
                        str(item["path"]),
                        _number(item["call"]),
                        _tuples(item["result"]),
                    )
                    for item in data.get("hands_back", ())
                ),
                ends=tuple(
                    None
                    if item is None
                    else StageEnd(
                        str(item["path"]),
                        _number(item["call"]),
                        "given" if item["side"] == "given" else "returned",
                        _tuples(item["place"]),
                        bool(item["copied"]),
                    )
                    for item in data.get("ends", ())
                ),
                patches=tuple(
                    Patch(
                        **{
                            name: int(item[name])
                            for name in ("stage", "number", "channels", "channel_dim", "dims")
                        },
                        rank=_number(item["rank"]),
                    )
                    for item in data.get("patches", ())
                ),
                additions=tuple(
                    Addition(
                        str(item["path"]),
                        *(int(item[name]) for name in ("stage", "rank", "channels")),
                    )
                    for item in data.get("additions", ())
                ),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(
                f"got a plan that cannot be read ({type(error).__name__}: {error}); expected the "
                "JSON that Plan.to_json() writes"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that :meth:`to_json` wrote.

        Raises:
            PlanError: ``text`` is not such a plan.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # no JSON, or far too deep
            raise PlanError(f"got a plan that is not JSON ({error})") from error
        return cls.from_dict(data)


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
        stages, kept_back = _handable(tree, stages)
        why = "; ".join([why, *(f"{name} always runs: {said}" for name, said in kept_back.items())])
    found = _cut_isotropic(tree, stages, groups)
    candidates = [stage for stage in found if len(stage.blocks) > 1 and _can_be_cut(stage)]
    if blocks is not None and skippable is not None:
        raise PlanError("got both skippable=... and blocks=...; expected at most one of them")
    if blocks is not None:
        chosen = _exact(candidates, blocks)
    else:
        chosen = _last(candidates, _counts(candidates, skippable))
    kept = [(stage, names) for stage, names in zip(candidates, chosen, strict=True) if names]
    if not kept and candidates and skippable is not None:
        raise PlanError(
            f"got skippable={skippable!r}, which leaves every stage whole; expected at least one "
            f"block to skip in one of {_listed([stage.name for stage in candidates])}"
        )
    if not kept:
        raise _nothing_found(tree, found, norms, kept_back)
    twins = _choose_twins(tree, norms, kept, twin_norms)
    additions = _choose_additions(tree, kept, low_rank)
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


def _handable(tree: CallTree, stages: Sequence[Stage]) -> tuple[tuple[Stage, ...], dict[str, str]]:
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


def _hands_back(
    tree: CallTree, kept: Sequence[tuple[Stage, tuple[str, ...]]]
) -> tuple[HandBack, ...]:
    blocks = [item.block for item in _skippable_blocks(kept) if item.block is not None]
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


def _cut_isotropic(tree: CallTree, stages: Sequence[Stage], groups: int | None) -> list[Stage]:
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


def _counts(stages: Sequence[Stage], skippable: Skippable) -> list[list[int]]:
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


def _last(stages: Sequence[Stage], counts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
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


def _exact(stages: Sequence[Stage], names: Sequence[str]) -> list[tuple[str, ...]]:
    can_skip = {b.name for stage in stages for b in stage.blocks if b.block}
    wrong = [name for name in names if name not in can_skip]
    if wrong or isinstance(names, str) or not names:
        raise PlanError(
            f"got blocks={list(wrong or names)!r}; expected module paths of blocks with an "
            f"identity shortcut: {_listed(sorted(can_skip, key=_natural))}"
        )
    chosen = [tuple(b.name for b in stage.blocks if b.name in names) for stage in stages]
    for stage, picked in zip(stages, chosen, strict=True):
        if len(picked) == len(stage.blocks):
            raise PlanError(
                f"got all {len(picked)} blocks of stage {stage.name} in blocks; expected at least "
                "one block of each stage to stay mandatory"
            )
    return chosen


def _nothing_found(
    tree: CallTree, stages: Sequence[Stage], norms: frozenset[str], refused: Mapping[str, str]
) -> NoResidualError:
    opaque = sorted(tree.residual.traced.opaque)
    hidden = (
        f" {len(opaque)} modules could not be looked into: {_listed(opaque)}." if opaque else ""
    )
    refusals = [f"{name} cannot be skipped in place: {why}." for name, why in refused.items()]
    hidden += "".join(f" {text}" for text in refusals[:3])
    return NoResidualError(
        "got a network without a stage to cut; expected at least one row of two or more blocks of "
        "one resolution, the last with an identity shortcut. Found "
        f"{findings(tree, stages, norms)}.{hidden} Only what is added onto an identity shortcut "
        "can be skipped; a deeper variant of this network may have rows of such blocks",
        opaque,
    )


def _choose_twins(
    tree: CallTree,
    norms: frozenset[str],
    kept: Sequence[tuple[Stage, tuple[str, ...]]],
    twin_norms: Twins,
) -> tuple[TwinNorm, ...]:
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


def _choose_additions(
    tree: CallTree, kept: Sequence[tuple[Stage, tuple[str, ...]]], rank: int
) -> tuple[Addition, ...]:
    """One for each linear map and convolution inside the mandatory blocks, as far as it pays."""
    if rank < 0:
        raise PlanError(f"got low_rank={rank}; expected a rank of 1 or more, or 0 for none")
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


def _can_be_cut(stage: Stage) -> bool:
    return any(block.block for block in stage.blocks)


def _mandatory_end(stage: Stage, skippable: Sequence[str]) -> fx.Node:
    return [block.end for block in stage.blocks if block.name not in skippable][-1]


def _projections(
    tree: CallTree, kept: Sequence[tuple[Stage, tuple[str, ...]]]
) -> frozenset[fx.Node]:
    """What projection shortcuts compute (ResNet's ``downsample``)."""
    blocks = (block for stage, _ in kept for block in stage.blocks if block.block is None)
    return frozenset(node for block in blocks for node in tree.residual.projections(block.nodes))


def _to_open(
    tree: CallTree,
    kept: Sequence[tuple[Stage, tuple[str, ...]]],
    changed: Collection[str],
) -> tuple[str, ...]:
    """Modules that hold a gate or a module that changes, and the modules around them."""
    calls = tree.residual.traced.calls
    opened: set[str] = set()
    for block in _skippable_blocks(kept):
        assert block.block is not None
        for path in block.block.paths:
            opened.update(call.path for n in path.steps for call in _opened_calls(tree, n))
    for node, stack in calls.items():
        if str(node.target) in changed and node.op == "call_module":
            opened.update(call.path for call in stack[:-1])
    return tuple(sorted(opened, key=_natural))


def _opened_calls(tree: CallTree, node: fx.Node) -> Sequence[Any]:
    stack = tree.residual.traced.calls[node]
    return stack[:-1] if node.op == "call_module" else stack


def _skippable_blocks(kept: Sequence[tuple[Stage, tuple[str, ...]]]) -> list[StageBlock]:
    return [block for stage, names in kept for block in stage.blocks if block.name in names]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _paths(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError("expected a list of module paths, got one string")
    return tuple(str(value) for value in values)


def _natural(path: str) -> list[tuple[int, str]]:
    """Sort key that puts ``layer1.10`` after ``layer1.9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
