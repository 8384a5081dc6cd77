"""A plan: plain frozen data that prints, compares and round-trips through JSON.

It is all that crosses from reading a network to rewriting it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import PlanError
from ..graph.skipped_output import Template
from ..graph.tensors import Place

Run = Literal["graph", "in place"]
Side = Literal["returned", "given"]


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


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _paths(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError("expected a list of module paths, got one string")
    return tuple(str(value) for value in values)
