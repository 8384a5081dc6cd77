"""What all questions about a network share: whose error is it, and how is it told?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import SubpathError

OnPhase = Callable[[str], None]


def no_report(phase: str) -> None:
    """A :data:`OnPhase` that nobody listens to."""


class OriginalFailsError(Exception):
    """The original itself cannot do what is asked; nothing is known of the conversion."""


@contextmanager
def original_runs() -> Iterator[None]:
    """Errors inside the block are the original's own.

    Raises:
        OriginalFailsError: there was one.
    """
    try:
        yield
    except Exception as error:  # other people's code in every shape
        raise OriginalFailsError(f"the original does not run: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error in one line; ours are written to be read whole."""
    text = str(error).strip() or "no message"
    if not isinstance(error, SubpathError):
        text = text.splitlines()[0]
    return f"{type(error).__name__}: {text}"
