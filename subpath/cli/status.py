"""What is done now, in one line of a terminal that goes away at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..progress import OnProgress


@contextmanager
def status_line() -> Iterator[OnProgress]:
    """Gives a function that shows what is done now, on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("", refresh_per_second=2) as status:  # seldom: times are measured beside it

        def show(step: str, done: int, total: int | None) -> None:
            status.update(Text(step if total is None else f"{step} ({done} of {total})"))

        yield show
