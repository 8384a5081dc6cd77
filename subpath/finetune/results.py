"""What a run found out: metrics and multiply-adds of each skip config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..choice import MeasuredConfig, MeasuredTable
from ..skip import SkipConfig


@dataclass(frozen=True)
class ConfigResult:
    """One skip config on validation data.

    Attributes:
        skip: the config.
        metrics: those of the task by name; ``top1`` is accuracy in percent.
        gmacs: multiply-adds for one input, in 10^9 (papers print them as GFLOPs).
    """

    skip: str
    metrics: Mapping[str, float]
    gmacs: float

    @property
    def top1(self) -> float | None:
        """Accuracy in percent, if it is one of the metrics."""
        return self.metrics.get("top1")


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
        model: name of the original.
        configs: one result for each skip config, super-net first.
    """

    model: str
    configs: tuple[ConfigResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"model": ..., "skip": {"FFFF": {"top1": percent, "gmacs": ...}, ...}}``."""
        results = {c.skip: {**c.metrics, "gmacs": c.gmacs} for c in self.configs}
        return {"model": self.model, "skip": results}

    def table(self) -> MeasuredTable:
        """The same to choose from, and to keep beside the weights."""
        return MeasuredTable(
            tuple(MeasuredConfig(SkipConfig(c.skip), c.gmacs, top1=c.top1) for c in self.configs)
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Summary:
        """What :meth:`to_dict` gave."""
        entries = data["skip"].items()
        configs = tuple(
            ConfigResult(skip, {name: e[name] for name in e if name != "gmacs"}, gmacs=e["gmacs"])
            for skip, e in entries
        )
        return cls(data["model"], configs)
