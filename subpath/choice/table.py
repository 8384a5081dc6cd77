"""A table of what each config costs and achieves, and the choice by a budget."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from ..errors import ChoiceError
from ..skip import SkipConfig
from .front import pareto_front
from .reading import read
from .records import COSTS, Conditions, Cost, MeasuredConfig, check, many


@dataclass(frozen=True)
class MeasuredTable:
    """Costs and accuracy of the skip configs of one network.

    Attributes:
        configs: one entry for each config.
        conditions: what the latencies hold for; ``None`` if there are none.

    Raises:
        ChoiceError: a figure is not a finite number in its range, two entries are for one config
            or for networks of different depth, or a latency lacks its origin or conditions.
    """

    configs: tuple[MeasuredConfig, ...]
    conditions: Conditions | None = None

    def __post_init__(self) -> None:
        check(self.configs, self.conditions)

    def __getitem__(self, skip: str) -> MeasuredConfig:
        """The entry of one config."""
        for config in self.configs:
            if config.skip == skip:
                return config
        raise ChoiceError(
            f"got the config {skip!r}; expected one of the {len(self.configs)} in this table: "
            f"{', '.join(config.skip for config in self.configs[:8])}, ..."
        )

    def choose(
        self,
        *,
        max_latency_ms: float | None = None,
        max_gmacs: float | None = None,
        min_top1: float | None = None,
    ) -> SkipConfig:
        """The config for a budget.

        With a budget, the most accurate config within it; where no accuracy is known, the one with
        the most multiply-adds. Of equals the cheaper, then the one that skips fewer and earlier
        stages. With ``min_top1`` alone, the cheapest config that reaches it: by latency, if one
        is known, else by multiply-adds.

        Args:
            max_latency_ms: time of one call at most, in milliseconds, under ``conditions``.
            max_gmacs: multiply-adds for one input at most, in units of 1e9.
            min_top1: accuracy at least, in percent.

        Raises:
            ChoiceError: nothing is known of what the budget asks for, or no config fits.
        """
        limits = {
            "latency_ms": self._limit("max_latency_ms", max_latency_ms, "latency_ms"),
            "gmacs": self._limit("max_gmacs", max_gmacs, "gmacs"),
            "top1": self._limit("min_top1", min_top1, "top1"),
        }
        costs = [cost for cost in COSTS if limits[cost] is not None]
        chosen = None
        if len(costs) == 1 and min_top1 is None:
            steps, best = self._ladders[costs[0]]
            place = bisect_right(steps, limits[costs[0]])  # type: ignore[type-var]
            chosen = best[place - 1] if place else None
        else:
            order = self._best_first if costs or min_top1 is None else self._cheapest_first
            chosen = next((config.skip for config in order if _fits(config, limits)), None)
        if chosen is None:
            raise self._nothing_fits(limits)
        return chosen

    def front(self, cost: Cost) -> frozenset[SkipConfig]:
        """The Pareto front: the configs that no other one beats at this cost.

        One config beats another if it is no costlier and no less accurate, and better in one of
        the two; where no accuracy is known, multiply-adds stand for it. Configs of which cost or
        accuracy is unknown are not on the front.
        """
        value = "top1" if self._knows("top1") else "gmacs"
        rows = [c for c in self.configs if None not in (getattr(c, cost), getattr(c, value))]
        on_front = pareto_front([(getattr(c, cost), getattr(c, value)) for c in rows])
        return frozenset(c.skip for c, on in zip(rows, on_front, strict=True) if on)

    def dominated(self) -> frozenset[SkipConfig]:
        """The configs with a known accuracy that are on the front of no cost."""
        costs = [cost for cost in COSTS if self._knows(cost)]
        if not costs or not self._knows("top1"):
            return frozenset()
        good = frozenset[SkipConfig]().union(*map(self.front, costs))
        return frozenset(c.skip for c in self.configs if c.top1 is not None) - good

    def to_dict(self) -> dict[str, Any]:
        """The table as plain lists, dicts, strings and numbers; what is unknown is left out."""
        entries = [{k: v for k, v in asdict(c).items() if v is not None} for c in self.configs]
        for entry in entries:
            entry["skip"] = str(entry["skip"])
        conditions = None if self.conditions is None else asdict(self.conditions)
        return {"conditions": conditions, "configs": entries}

    @classmethod
    def from_dict(cls, data: Any) -> MeasuredTable:
        """The table that :meth:`to_dict` gave; every key and type is checked.

        Raises:
            ChoiceError: ``data`` is not such a table.
        """
        return cls(*read(data))

    def _knows(self, column: str) -> bool:
        return column in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        names = [field.name for field in fields(MeasuredConfig)]
        return frozenset(n for n in names if any(getattr(c, n) is not None for c in self.configs))

    @cached_property
    def _best_first(self) -> tuple[MeasuredConfig, ...]:
        return tuple(sorted(self.configs, key=_preference))

    @cached_property
    def _cheapest_first(self) -> tuple[MeasuredConfig, ...]:
        cost = next((cost for cost in COSTS if self._knows(cost)), "gmacs")
        return tuple(sorted(self._best_first, key=lambda c: _or_infinite(getattr(c, cost))))

    @cached_property
    def _ladders(self) -> Mapping[str, tuple[Sequence[float], Sequence[SkipConfig]]]:
        """For each cost: its values in ascending order, and the best config up to each."""
        ladders: dict[str, tuple[Sequence[float], Sequence[SkipConfig]]] = {}
        for cost in COSTS:
            rank = {config.skip: place for place, config in enumerate(self._best_first)}
            rows = [c for c in self.configs if getattr(c, cost) is not None]
            rows.sort(key=lambda c, cost=cost: getattr(c, cost))  # type: ignore[misc]
            best: list[SkipConfig] = []
            for row in rows:
                best.append(min([row.skip, *best[-1:]], key=rank.__getitem__))
            ladders[cost] = ([getattr(row, cost) for row in rows], best)
        return ladders

    def _limit(self, name: str, value: float | None, column: str) -> float | None:
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value):
            raise ChoiceError(f"got {name}={value!r}; expected a number")
        if not self._knows(column):
            known = [name for name in ("latency_ms", "gmacs", "top1") if self._knows(name)]
            raise ChoiceError(
                f"got {name}={value:g}, but no config of this table has {_WORDS[column]}; expected "
                f"a budget in {', '.join(_WORDS[name] for name in known) or 'nothing'}. "
                "subpath.measure measures latency and counts multiply-adds, and subpath evaluate "
                "measures accuracy"
            )
        return value

    def _nothing_fits(self, limits: Mapping[str, float | None]) -> ChoiceError:
        asked = {name: value for name, value in limits.items() if value is not None}
        rows = [c for c in self._best_first if all(getattr(c, n) is not None for n in asked)]
        budget = ", ".join(f"{_LIMITS[name]}={value:g}" for name, value in asked.items())
        if not rows:
            return ChoiceError(f"got {budget}, but of no config all of this is known")
        nearest = min(rows, key=lambda c: max(_excess(n, getattr(c, n), asked[n]) for n in asked))
        has = ", ".join(f"{getattr(nearest, name):.4g} {_UNITS[name]}" for name in asked)
        return ChoiceError(
            f"got {budget}, which none of {many(len(rows), 'config')} fits; the nearest is "
            f"{nearest.skip} with {has}"
        )


_WORDS = {"latency_ms": "a latency", "gmacs": "multiply-adds", "top1": "an accuracy"}
_LIMITS = {"latency_ms": "max_latency_ms", "gmacs": "max_gmacs", "top1": "min_top1"}
_UNITS = {"latency_ms": "ms", "gmacs": "GMACs", "top1": "% top-1"}


def _preference(config: MeasuredConfig) -> tuple[Any, ...]:
    """Sort key: known accuracies first, the best of them first; then most of the network first."""
    time, work = _or_infinite(config.latency_ms), _or_infinite(config.gmacs)
    skips = (config.skip.count("T"), [letter == "F" for letter in config.skip])
    if config.top1 is not None:
        return (0, -config.top1, time, work, skips)
    if config.gmacs is not None:
        return (1, -config.gmacs, time, 0, skips)
    return (2, -(config.latency_ms or 0.0), 0, 0, skips)


def _fits(config: MeasuredConfig, limits: Mapping[str, float | None]) -> bool:
    for cost in COSTS:
        limit, value = limits[cost], getattr(config, cost)
        if limit is not None and (value is None or value > limit):
            return False
    floor = limits["top1"]
    return floor is None or (config.top1 is not None and config.top1 >= floor)


def _excess(name: str, value: float, limit: float) -> float:
    """By which share of itself a figure misses a limit; negative if it does not."""
    missing = limit - value if name == "top1" else value - limit
    return missing / value if value else missing


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value
