"""What a measurement of latency tells: plain frozen data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..choice import Conditions, Source
from ..errors import MeasureError
from ..skip import SkipConfig


@dataclass(frozen=True)
class ConfigLatency:
    """The time of one call of one skip config, in milliseconds.

    Attributes:
        skip: the config.
        measured_ms: the median; ``None`` if it was not measured.
        quartiles_ms: between these lies the middle half of the measurements.
        predicted_ms: the super-net's median without what the single stages save, for configs that
            skip two or more.
        predicted_interval_ms: where it would lie in 95 % of measurements with such noise.
        saving_ms: how much less than the super-net :attr:`latency_ms` is.
        saving_interval_ms: where that would lie in 95 % of measurements with such noise.
        peak_memory_mib: what torch held at most on the CUDA device during a call, the whole
            model's weights included; ``None`` elsewhere.
    """

    skip: SkipConfig
    measured_ms: float | None
    quartiles_ms: tuple[float, float] | None
    predicted_ms: float | None
    predicted_interval_ms: tuple[float, float] | None
    saving_ms: float
    saving_interval_ms: tuple[float, float]
    peak_memory_mib: float | None = None

    @property
    def latency_ms(self) -> float:
        """The median if it was measured, else the prediction."""
        value = self.predicted_ms if self.measured_ms is None else self.measured_ms
        assert value is not None
        return value

    @property
    def source(self) -> Source:
        """Where :attr:`latency_ms` comes from."""
        return "predicted" if self.measured_ms is None else "measured"

    @property
    def within_noise(self) -> bool:
        """Whether the difference from the super-net may be nothing but noise."""
        low, high = self.saving_interval_ms
        return "T" in self.skip and low <= 0 <= high

    @property
    def prediction_error(self) -> float | None:
        """By which share of the measured time the prediction is off (positive: too long)."""
        if self.measured_ms is None or self.predicted_ms is None:
            return None
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True)
class LatencyTable:
    """The time of one call of each skip config, under one set of conditions.

    Attributes:
        conditions: device, threads, precision, batch and runtime.
        input_shapes: shape of each input.
        rounds: how often each config was timed.
        configs: one entry for each config, super-net first.
    """

    conditions: Conditions
    input_shapes: tuple[tuple[int, ...], ...]
    rounds: int
    configs: tuple[ConfigLatency, ...]

    def __getitem__(self, skip: str) -> ConfigLatency:
        """The entry of one config."""
        for entry in self.configs:
            if entry.skip == skip:
                return entry
        raise MeasureError(
            f"got config {skip!r}; expected one of {len(self.configs[0].skip)} letters T and F"
        )

    @property
    def checked(self) -> tuple[ConfigLatency, ...]:
        """The configs that were both measured and predicted."""
        return tuple(entry for entry in self.configs if entry.prediction_error is not None)

    @property
    def prediction_error(self) -> float | None:
        """The largest error of a prediction, as a share of the measured time, without sign."""
        return max((abs(entry.prediction_error or 0.0) for entry in self.checked), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The table as plain lists, dicts, strings and numbers."""
        return {
            "conditions": asdict(self.conditions),
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "rounds": self.rounds,
            "prediction_error": self.prediction_error,
            "configs": [_entry(entry) for entry in self.configs],
        }


def _entry(entry: ConfigLatency) -> dict[str, Any]:
    plain = {key: value for key, value in asdict(entry).items() if value is not None}
    plain |= {"skip": str(entry.skip), "latency_ms": entry.latency_ms, "source": entry.source}
    return {**plain, "within_noise": entry.within_noise}
