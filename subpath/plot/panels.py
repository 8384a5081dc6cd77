"""What a picture of all configs shows: points and their front; not how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from ..choice import COSTS, Cost, MeasuredConfig, MeasuredTable


@dataclass(frozen=True)
class Point:
    """One or more configs at one place.

    Attributes:
        names: the configs.
        x: their cost.
        y: their accuracy in percent, or share of the super-net's multiply-adds in percent.
        on_front: whether no other config beats them.
        predicted: whether the cost is a prediction.
    """

    names: tuple[str, ...]
    x: float
    y: float
    on_front: bool
    predicted: bool


@dataclass(frozen=True)
class Panel:
    """One cost against what it buys.

    Attributes:
        x_label: the cost with its unit, and what it holds for.
        y_label: what it buys.
        points: all configs of which both are known.
    """

    x_label: str
    y_label: str
    points: tuple[Point, ...]

    @property
    def front(self) -> tuple[Point, ...]:
        """The points on the front, in order of their cost."""
        return tuple(sorted((p for p in self.points if p.on_front), key=lambda p: (p.x, p.y)))


def panels_of(table: MeasuredTable) -> tuple[Panel, ...]:
    """A panel for each cost of which something is known: multiply-adds first, then latency."""
    with_top1 = any(config.top1 is not None for config in table.configs)
    whole = max((c.gmacs for c in table.configs if c.gmacs is not None), default=None)
    panels = []
    for cost in reversed(COSTS):
        places: dict[tuple[float, float, bool], list[str]] = {}
        for config in table.configs:
            x, y = getattr(config, cost), _worth(config, whole, with_top1)
            if x is not None and y is not None:
                predicted = cost == "latency_ms" and config.latency_from == "predicted"
                places.setdefault((x, y, predicted), []).append(str(config.skip))
        if not places:
            continue
        front = table.front(cost)
        panels.append(
            Panel(
                x_label=_x_label(table, cost),
                y_label="top-1 accuracy, %" if with_top1 else "share of the super-net's MACs, %",
                points=tuple(
                    Point(tuple(names), x, y, bool(front & set(names)), predicted)
                    for (x, y, predicted), names in places.items()
                ),
            )
        )
    return tuple(panels)


def _worth(config: MeasuredConfig, whole: float | None, with_top1: bool) -> float | None:
    if with_top1:
        return config.top1
    return None if config.gmacs is None or not whole else 100 * config.gmacs / whole


def _x_label(table: MeasuredTable, cost: Cost) -> str:
    if cost == "gmacs":
        return "GMACs for one input"
    return f"latency, ms\n{table.conditions}"
