"""The Pareto front of costs and values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point of ``(cost, value)``, whether no other costs no more and is worth no less.

    Equal points do not beat each other.
    """
    on_front = [False] * len(points)
    best, best_cost = -math.inf, math.inf
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, value = points[place]
        if value > best:
            best, best_cost = value, cost
        on_front[place] = value == best and cost == best_cost
    return on_front
