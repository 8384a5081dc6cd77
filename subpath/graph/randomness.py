"""Random numbers that a forward draws by itself, apart from what it makes of its input."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import TraceError


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Let no numbers be drawn in this block: a graph would hold them, and what they decided, fixed.

    Raises:
        TraceError: some were drawn, to leave out a layer by chance for example. The generators of
            torch, of Python and of NumPy are then where they were.
    """
    before = _states()
    yield
    if not all(map(_same, before, _states())):
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        if before[2:]:
            sys.modules["numpy"].random.set_state(before[2])
        raise TraceError("got a forward that draws random numbers to decide by, or as constants")


def _states() -> list[Any]:
    numpy: Any = sys.modules.get("numpy")
    states = [torch.get_rng_state(), random.getstate()]
    return states if numpy is None else [*states, numpy.random.get_state()]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(
        bool((a == b).all()) if hasattr(a, "all") else a == b
        for a, b in zip(one, other, strict=True)
    )
