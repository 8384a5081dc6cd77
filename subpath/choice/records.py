"""What a table of measurements holds: one record for each skip config, and what it holds for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ChoiceError
from ..skip import SkipConfig

Source = Literal["measured", "predicted"]
Cost = Literal["latency_ms", "gmacs"]
LARGEST = sys.float_info.max
COSTS: tuple[Cost, ...] = ("latency_ms", "gmacs")


@dataclass(frozen=True)
class Conditions:
    """What a latency holds for.

    Attributes:
        device: model of the CPU or name of the GPU.
        threads: of the CPU; ``None`` where another device does the work.
        precision: ``"fp32"`` or ``"bf16"``.
        batch: how many inputs one call takes.
        runtime: what ran it, with its version.
    """

    device: str
    threads: int | None
    precision: str
    batch: int
    runtime: str

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {many(self.threads, 'thread')}"
        return f"batch {self.batch}, {self.device}{threads}, {self.precision}, {self.runtime}"


@dataclass(frozen=True)
class MeasuredConfig:
    """What is known of one skip config; ``None`` is unknown.

    Attributes:
        skip: the config.
        gmacs: multiply-adds for one input, counted, in units of 1e9.
        latency_ms: median time of one call, in milliseconds.
        latency_from: whether that was measured, or predicted from what single stages save.
        top1: accuracy in percent, measured.
    """

    skip: SkipConfig
    gmacs: float | None = None
    latency_ms: float | None = None
    latency_from: Source | None = None
    top1: float | None = None


def check(configs: Sequence[MeasuredConfig], conditions: Conditions | None) -> None:
    """Refuse records that contradict each other or are no numbers.

    Raises:
        ChoiceError: as :class:`MeasuredTable` says.
    """
    skips = [config.skip for config in configs]
    if not skips or len(set(skips)) != len(skips) or len({len(skip) for skip in skips}) != 1:
        raise ChoiceError(
            f"got a table of the configs {', '.join(skips[:8]) or '(none)'}; expected one or more, "
            "of one length, each once"
        )
    for config in configs:
        for name, most in (("gmacs", LARGEST), ("latency_ms", LARGEST), ("top1", 100.0)):
            value = getattr(config, name)
            if value is not None and not 0 <= value <= most:  # nor is nan
                raise ChoiceError(
                    f"got {name}={value!r} for {config.skip}; expected a number from 0 to {most:g}"
                )
        origins = ("measured", "predicted") if config.latency_ms is not None else (None,)
        if config.latency_from not in origins:
            raise ChoiceError(
                f"got latency_from={config.latency_from!r} for {config.skip}; expected 'measured' "
                "or 'predicted' where there is a latency_ms, and nothing elsewhere"
            )
    if conditions is None and any(c.latency_ms is not None for c in configs):
        raise ChoiceError("got latencies without conditions; expected the device, batch and so on")


def many(count: int, word: str) -> str:
    """``1 config``, ``2 configs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
