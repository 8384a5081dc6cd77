"""Ctrl-C and SIGTERM: a long command stops in order and says how to go on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .output import error


@contextmanager
def interruptible(advice: Callable[[], str]) -> Iterator[None]:
    """While the block runs, SIGTERM interrupts it as Ctrl-C does.

    Either prints ``interrupted`` with the advice and ends the process with the status that shells
    use: 130 after Ctrl-C, 143 after SIGTERM. Call it in the main thread.

    Args:
        advice: called after the interruption; says what was kept and how to go on.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # Where the whole group gets SIGTERM, torch's handler would report each dead data worker.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException as failure:
        # Any failure after the signal is due to it: a data worker may be gone before its parent.
        if not received and not isinstance(failure, KeyboardInterrupt):
            raise
        if os.environ.get("RANK", "0") == "0":  # set by torchrun and accelerate: one of many speaks
            error(f"interrupted {advice()}")
        sys.exit(128 + (received[0] if received else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, previous)
