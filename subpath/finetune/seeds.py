"""Randomness that remembers nothing.

Everything that is drawn in a run is drawn from generators seeded with the recipe's seed and the
place in the run: which phase, which epoch, which batch, which process. So a run that goes on from
a checkpoint draws what it would have drawn without the interruption, whatever the number of
workers, and no state of a generator has to be kept.
"""

from __future__ import annotations

import random
from enum import IntEnum

import numpy as np
import torch


class Use(IntEnum):
    """What a seed is for; two uses at one place have nothing in common."""

    ORDER = 0
    AUGMENT = 1
    STEP = 2
    CONFIG = 3


def seed_of(use: Use, *place: int) -> int:
    """A number below 2^63, as good as random, that depends on the use and the place alone."""
    (state,) = np.random.SeedSequence([use, *place]).generate_state(1, np.uint64)
    return int(state) >> 1


def set_seeds(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
