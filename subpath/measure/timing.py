"""Time several calls against each other: interleaved, warmed up, until the device is done."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Side = TypeVar("Side", bound=Hashable)

WARM_UP = 3
SECONDS = 5.0
FEWEST_ROUNDS, MOST_ROUNDS = 15, 300


def interleave(
    sides: Mapping[Side, Callable[[], object]],
    rounds: int | None = None,
    *,
    finish: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Side, list[float]]:
    """Milliseconds of each side in each round.

    A round runs every side once, each round in another order: what slows the machine for a while
    slows all sides alike, and no side always follows the same one. Differences are to be taken
    round by round.

    Args:
        sides: what to run, by name; each is run three times before anything is timed.
        rounds: how many; default: as many as 5 seconds allow, at least 15 and at most 300.
        finish: waits until the device is done; part of what is timed.
        clock: gives seconds.
    """
    for _ in range(WARM_UP):
        start = clock()
        for run in sides.values():
            run()
        finish()
        one_round = clock() - start
    if rounds is None:
        rounds = min(max(FEWEST_ROUNDS, int(SECONDS / max(one_round, 1e-9))), MOST_ROUNDS)
    names = list(sides)
    times: dict[Side, list[float]] = {name: [] for name in names}
    order = random.Random(0)  # noqa: S311  # the same orders every time
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            run = sides[name]
            start = clock()
            run()
            finish()
            times[name].append((clock() - start) * 1e3)
    return times
