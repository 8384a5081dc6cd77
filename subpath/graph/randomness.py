"""Random numbers that a forward draws by itself, apart from what it makes of its input."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import TraceError


class _Watch(TorchDispatchMode):
    """Counts the operators of this thread that draw: others may draw meanwhile."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.draws += torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


_WATCH: ContextVar[_Watch | None] = ContextVar("subpath_watch", default=None)


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Let no numbers be drawn in this block: a graph would hold them, and what they decided, fixed.

    Raises:
        TraceError: some were drawn, to leave out a layer by chance for example. The generators of
            torch, of Python and of NumPy are then where they were.
    """
    with ExitStack() as stack:
        watch = _WATCH.get()
        if watch is None:
            watch = stack.enter_context(_Watch())
            stack.callback(_WATCH.reset, _WATCH.set(watch))
        draws, own, others = watch.draws, torch.get_rng_state(), _others()
        yield
        if watch.draws != draws or not all(map(_same, others, _others())):
            watch.draws = draws
            torch.set_rng_state(own)
            random.setstate(others[0])
            if others[1:]:
                sys.modules["numpy"].random.set_state(others[1])
            raise TraceError(
                "got a forward that draws random numbers to decide by, or as constants"
            )


def _others() -> list[Any]:
    """The states of Python's and of NumPy's generators, which no mode can watch."""
    numpy: Any = sys.modules.get("numpy")
    state = random.getstate()
    return [state] if numpy is None else [state, numpy.random.get_state()]


def _same(one: Any, other: Any) -> bool:
    return all(
        bool((a == b).all()) if hasattr(a, "all") else a == b
        for a, b in zip(one, other, strict=True)
    )
