"""What is known of one network after it was examined, one line of JSON; and many side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Outcome = Literal["converted", "no-residual", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("converted", "no-residual", "failed")


@dataclass(frozen=True)
class Check:
    """The answer to one question.

    Attributes:
        passed: yes or no; ``None`` if the question could not be asked.
        why: what differs, or why it could not be asked; for a yes, under which conditions.
    """

    passed: bool | None
    why: str = ""


@dataclass(frozen=True)
class StageDepth:
    """The blocks of one stage, and how many of them are skippable."""

    name: str
    blocks: int
    skippable: int


@dataclass(frozen=True)
class Record:
    """What is known of one network.

    Attributes:
        library: a key of :data:`subpath.zoo.LIBRARIES`.
        versions: of the library and of torch.
        name: the network's name in its library.
        family: the file that defines it, ``resnet``.
        part: path of the module that was examined instead of the whole (``backbone``).
        outcome: ``converted``, ``no-residual`` (refused: there is nothing to skip) or ``failed``.
        reason: why it was refused, or the error.
        run: ``graph`` or ``in place``, once it is converted.
        why: why it is run so, in words.
        inputs: shape of each example input, batch included.
        stages: the stages with a skippable sub-path.
        gmacs_super: 1e9 multiply-adds of the super-net's matrix products and convolutions, for one
            sample; ``None`` if it was not converted.
        gmacs_base: the same of the base-net.
        twin_norms: how many norms have a twin.
        opaque: modules that could not be looked into, with the reason.
        checks: what holds without numbers, by name.
        parity: what holds with numbers, by name; empty if it was not asked.
        seconds: how long it took.
    """

    library: str
    versions: Mapping[str, str]
    name: str
    family: str
    part: str = ""
    outcome: Outcome = "failed"
    reason: str = ""
    run: str = ""
    why: str = ""
    inputs: tuple[tuple[int, ...], ...] = ()
    stages: tuple[StageDepth, ...] = ()
    gmacs_super: float | None = None
    gmacs_base: float | None = None
    twin_norms: int = 0
    opaque: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    parity: Mapping[str, Check] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def read_by(self) -> str:
        """How it was read: ``symbolic`` tracing, or a concrete ``run``."""
        return {"graph": "symbolic", "in place": "run"}.get(self.run, "")

    @property
    def skip_configs(self) -> int:
        """How many there are; none if the network was not converted."""
        return 2 ** len(self.stages) if self.stages else 0

    @property
    def ratio(self) -> float | None:
        """The base-net's share of the super-net's multiply-adds."""
        if self.gmacs_super is None or self.gmacs_base is None or not self.gmacs_super:
            return None
        return self.gmacs_base / self.gmacs_super

    @property
    def depths(self) -> str:
        """Blocks of each stage, as ``3-4-6-3``."""
        return "-".join(str(stage.blocks) for stage in self.stages)

    @property
    def wrong(self) -> dict[str, str]:
        """The checks that failed, with what differs."""
        checks = {**self.checks, **self.parity}
        return {name: check.why for name, check in checks.items() if check.passed is False}

    def with_parity(self, parity: Mapping[str, Check], seconds: float) -> Record:
        """The same with the answers of :mod:`subpath.sweep.parity`, and their time on top."""
        return replace(self, parity=dict(parity), seconds=round(self.seconds + seconds, 2))

    def to_dict(self) -> dict[str, Any]:
        """The record as plain lists, dicts, strings and numbers."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**plain, "skip_configs": self.skip_configs}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that :meth:`to_dict` gave.

        Raises:
            ValueError: ``data`` is something else.
        """
        try:
            fields = {name: value for name, value in data.items() if name != "skip_configs"}
            return cls(
                **{
                    **fields,
                    "inputs": tuple(tuple(shape) for shape in data["inputs"]),
                    "stages": tuple(StageDepth(**stage) for stage in data["stages"]),
                    "checks": checks_from(data["checks"]),
                    "parity": checks_from(data["parity"]),
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no record of a network ({type(error).__name__}: {error})") from error


def checks_from(data: Mapping[str, Any]) -> dict[str, Check]:
    """The checks whose plain form is ``data``."""
    return {name: Check(**check) for name, check in data.items()}


def by_family(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each family, by the names of families."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.family, []).append(record)
    return dict(sorted(families.items()))


def smallest(records: Iterable[Record]) -> Record | None:
    """The converted network with the fewest multiply-adds."""
    converted = (record for record in records if record.outcome == "converted")
    return min(converted, key=lambda record: record.gmacs_super or 0, default=None)
