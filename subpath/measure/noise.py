"""Medians of repeated timings, and how sure what is computed from them is."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import torch

Side = TypeVar("Side", bound=Hashable)

FEWEST = 6
"""With fewer rounds, their noise says nothing of what other rounds would give."""

DRAWS = 1000


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; half of the values lie between them."""
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def resampled_medians(times: Mapping[Side, Sequence[float]]) -> dict[Side, torch.Tensor]:
    """Medians that other rounds might have given, by the bootstrap: 1000 for each side.

    Rounds are drawn with replacement, the same for all sides, so that what slows all of them alike
    does so in the medians too. Compute from these what was computed from the medians, and
    :func:`interval` says how sure that is.
    """
    generator = torch.Generator().manual_seed(0)
    rounds = len(next(iter(times.values())))
    draws = torch.randint(rounds, (DRAWS, rounds), generator=generator)
    return {
        side: torch.tensor(taken, dtype=torch.float64)[draws].quantile(0.5, dim=1)
        for side, taken in times.items()
    }


def interval(values: torch.Tensor) -> tuple[float, float]:
    """Where the middle 95 % of resampled values lie."""
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high
