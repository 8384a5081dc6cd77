"""What is done now, in one line of a terminal that goes away at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Gives a function that shows what is done now, on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("", refresh_per_second=2) as status:  # seldom: times are measured beside it
        yield lambda step: status.update(Text(step))
