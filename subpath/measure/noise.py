"""Medians of repeated timings, and how sure they are; nothing is assumed of the distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

FEWEST = 6
"""Of fewer values no two enclose the median with 95 % confidence."""


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; half of the values lie between them."""
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def interval_of_median(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Two of the values that enclose the true median with at least this confidence.

    Each value lies below the true median with probability one half, so the number of those that do
    is binomial (the sign test). With too few values it is the whole range.
    """
    ordered, count = sorted(values), len(values)
    rank, outside = 0, 2 * 0.5**count
    while rank + 1 < count - rank - 1:
        more = 2 * math.comb(count, rank + 1) * 0.5**count
        if outside + more > 1 - confidence:
            break
        rank, outside = rank + 1, outside + more
    return ordered[rank], ordered[count - rank - 1]
