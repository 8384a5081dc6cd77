"""What may stand at each place of ``subpath.json``, in the strict sense: no type is converted.

Every problem is found at once, with its place.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from ..adaptive.patches import can_be_patched
from ..choice import MeasuredTable
from ..errors import ChoiceError
from ..graph.skipped_output import is_template
from ..planning import Plan
from .format import FORMAT_VERSION, Architecture, Description, weights_name
from .state import listed, shown

_Name = Annotated[str, StringConstraints(min_length=1)]
_Version = Annotated[str, StringConstraints(pattern=r"^[\w.+!-]{1,100}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=1, le=2**31)]
_Shape = Annotated[tuple[_Size, ...], Field(max_length=8)]

# An example input of this many numbers would be a picture of 3344 by 3344.
_MAX_INPUT = 2**25


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Stage(_Strict):
    name: _Name
    blocks: Annotated[tuple[_Name, ...], Field(min_length=1)]
    skippable: Annotated[tuple[_Name, ...], Field(min_length=1)]
    output_shape: _Shape
    channel_dim: Annotated[int, Field(ge=-1, le=8)]

    @model_validator(mode="after")
    def _skips_some_of_its_blocks(self) -> _Stage:
        if set(self.skippable) - set(self.blocks):
            raise ValueError("expected skippable blocks that are among its blocks")
        if self.output_shape and not 1 <= self.channel_dim <= len(self.output_shape):
            raise ValueError("expected a channel_dim within output_shape, the batch being 0")
        return self


class _Twin(_Strict):
    path: _Name
    stage: Annotated[int, Field(ge=0)]


class _Opaque(_Strict):
    path: _Name
    reason: str


class _HandBack(_Strict):
    block: _Name
    path: _Name
    call: Annotated[int, Field(ge=0)] | None
    result: list[Any]

    @field_validator("result")
    @classmethod
    def _is_a_template(cls, result: list[Any]) -> list[Any]:
        if not is_template(result):
            raise ValueError('expected what a block hands back: ["input", name], ["tuple", ...]')
        return result


class _End(_Strict):
    path: _Name
    call: Annotated[int, Field(ge=0)] | None
    side: Literal["returned", "given"]
    place: tuple[str | int, ...]
    copied: bool


class _Patch(_Strict):
    stage: Annotated[int, Field(ge=0)]
    number: Annotated[int, Field(ge=0, le=64)]
    channels: Annotated[int, Field(ge=1, le=2**20)]
    channel_dim: Annotated[int, Field(ge=1, le=8)]
    dims: Annotated[int, Field(ge=2, le=9)]
    rank: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _is_a_layer_over_channels(self) -> _Patch:
        if not can_be_patched((1,) * self.dims, self.channel_dim):
            raise ValueError("expected a channel_dim that is the last, or 1 of 3 to 5 dimensions")
        if self.rank is not None and self.rank > self.channels:
            raise ValueError("expected a rank of at most the number of channels")
        return self


class _Addition(_Strict):
    path: _Name
    stage: Annotated[int, Field(ge=0)]
    rank: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1, le=2**20)]

    @model_validator(mode="after")
    def _is_of_low_rank(self) -> _Addition:
        if self.rank > self.channels:
            raise ValueError("expected a rank of at most the number of channels")
        return self


class _Plan(_Strict):
    stages: Annotated[tuple[_Stage, ...], Field(min_length=1)]
    twin_norms: tuple[_Twin, ...]
    opened: tuple[str, ...]
    opaque: tuple[_Opaque, ...] = ()
    run: Literal["graph", "in place"] = "graph"
    why: str = ""
    hands_back: tuple[_HandBack, ...] = ()
    ends: tuple[_End | None, ...] = ()
    patches: tuple[_Patch, ...] = ()
    additions: tuple[_Addition, ...] = ()

    @model_validator(mode="after")
    def _names_each_thing_once(self) -> _Plan:
        if self.run == "in place":
            skippable = {block for stage in self.stages for block in stage.skippable}
            if {item.block for item in self.hands_back} != skippable:
                raise ValueError("expected in hands_back each skippable block, and no other")
            if len(self.ends) != len(self.stages):
                raise ValueError("expected one of ends for each stage")
        elif self.hands_back or self.ends:
            raise ValueError("expected hands_back and ends of what runs in place alone")
        if any(twin.stage >= len(self.stages) for twin in self.twin_norms):
            raise ValueError(f"expected twin norms of stages 0 to {len(self.stages) - 1}")
        if any(patch.stage >= len(self.stages) for patch in self.patches):
            raise ValueError(f"expected patches of stages 0 to {len(self.stages) - 1}")
        if any(addition.stage >= len(self.stages) for addition in self.additions):
            raise ValueError(f"expected additions of stages 0 to {len(self.stages) - 1}")
        blocks = [block for stage in self.stages for block in stage.blocks]
        norms = [twin.path for twin in self.twin_norms]
        for what, paths in (
            ("block", blocks),
            ("twin norm", norms),
            ("opened module", self.opened),
            ("layer with an addition", [addition.path for addition in self.additions]),
            ("patch", [f"{patch.stage}.{patch.number}" for patch in self.patches]),
        ):
            twice = [path for path, count in Counter(paths).items() if count > 1]
            if twice:
                raise ValueError(f"expected each {what} once, got {listed(twice)} again")
        return self


class _Architecture(_Strict):
    name: _Name
    arguments: dict[str, Any]


class _Description(_Strict):
    format_version: int
    architecture: _Architecture | None
    input_size: Annotated[_Shape, Field(min_length=1)] | None
    plan: _Plan
    weights: _Name
    sha256: _Digest
    shared: dict[str, str]
    libraries: dict[_Name, _Version]
    measured: Any = None  # which has a strict reader of its own
    original: _Digest | None = None

    @model_validator(mode="after")
    def _names_a_file_beside_it(self) -> _Description:
        if self.weights != weights_name(self.sha256):
            raise ValueError(
                f"got {self.weights!r} as the weights file; expected a file in the same directory "
                f"called {weights_name('<digest>')!r}"
            )
        if math.prod(self.input_size or ()) > _MAX_INPUT:
            raise ValueError(f"expected an input_size of at most {_MAX_INPUT} numbers")
        return self


def check(content: Any) -> Description:
    """The description that the content of a file is.

    Raises:
        ValueError: it is none; the text has a line for each problem.
    """
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise ValueError(
            f"got format version {version}; expected {FORMAT_VERSION}. It was written by another "
            "version of this library"
        )
    try:
        # By way of JSON, where a list stands for a tuple.
        read = _Description.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise ValueError("; ".join(_problem(details) for details in error.errors())) from error
    made = read.architecture
    return Description(
        architecture=None if made is None else Architecture(made.name, made.arguments),
        input_size=read.input_size,
        plan=Plan.from_dict(read.plan.model_dump(mode="json")),
        weights=read.weights,
        sha256=read.sha256,
        shared=read.shared,
        libraries=read.libraries,
        measured=_table(read.measured, len(read.plan.stages)),
        original=read.original,
    )


def _table(content: Any, stages: int) -> MeasuredTable | None:
    if content is None:
        return None
    try:
        table = MeasuredTable.from_dict(content)
    except ChoiceError as error:
        raise ValueError(f"measured: {error}") from error
    if len(table.configs[0].skip) != stages:
        raise ValueError(
            f"measured: got configs of {len(table.configs[0].skip)} letters; expected {stages}, "
            "one for each stage of the plan"
        )
    return table


def _problem(details: ErrorDetails) -> str:
    place = ".".join(shown(str(part)) for part in details["loc"])
    said = details["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
