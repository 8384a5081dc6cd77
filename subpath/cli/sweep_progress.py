"""How far a sweep is: a live view on a terminal, one line for each network elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..sweep.callback import Callback
from ..sweep.record import Record
from ..sweep.worker_process import Task
from .sweep_summary import STYLES, troubles, verdict


def watcher() -> Callback:
    """The callback that suits where stderr goes."""
    console = Console(stderr=True, highlight=False)
    return LiveView(console) if console.is_terminal else Lines()


class Lines:
    """Prints a line on stderr when a network is done."""

    def __init__(self) -> None:
        self._total, self._done = 0, 0

    def begin(self, title: str, total: int, known: Sequence[Record]) -> None:
        """Say how much is to be done."""
        self._total, self._done = total, len(known)
        self._print(f"{title}: {total} networks, {len(known)} of them known")

    def working(self, worker: int, task: Task, phase: str) -> None:
        """Say nothing."""

    def done(self, worker: int, record: Record) -> None:
        """Print how it fared."""
        self._done += 1
        what = f"{record.name}: {verdict(record)} {record.depths}".rstrip()
        self._print(f"[{self._done}/{self._total}] {what}, {record.seconds:.1f} s")
        for trouble in troubles(record):
            self._print(f"    {trouble}")

    def end(self) -> None:
        """Say nothing."""

    def _print(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class LiveView:
    """Draws a bar, counts, and what each worker is doing; what goes wrong is printed above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._counts: Counter[str] = Counter()
        self._workers: dict[int, tuple[str, str, float]] = {}

    def begin(self, title: str, total: int, known: Sequence[Record]) -> None:
        """Draw a new view."""
        self._counts = Counter(map(verdict, known))
        self._workers = {}
        self._bar = Progress(
            TextColumn(f"[bold]{title}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=len(known))
        self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=4)
        self._live.start()

    def working(self, worker: int, task: Task, phase: str) -> None:
        """Note what the worker does, and since when it has been at this network."""
        name, _, since = self._workers.get(worker, ("", "", 0.0))
        if name != task["name"]:
            since = time.monotonic()
        self._workers[worker] = (task["name"], phase, since)

    def done(self, worker: int, record: Record) -> None:
        """Count it, and print what went wrong."""
        self._workers.pop(worker, None)
        self._counts[verdict(record)] += 1
        self._bar.advance(self._task)
        for trouble in troubles(record):
            self._console.print(Text.assemble((record.name, "bold"), f": {trouble}"))

    def end(self) -> None:
        """Leave the bar and the counts as they are."""
        if self._live is not None:
            self._workers = {}
            self._live.stop()
            self._live = None

    def _view(self) -> RenderableType:
        counts = Text("  ")
        for word, style in STYLES.items():
            count = self._counts[word]
            counts.append(f"{count} {word}   ", style if count else "dim")
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=2, justify="right", style="dim")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, style="dim")
        table.add_column(width=6, justify="right", style="dim", no_wrap=True)
        now = time.monotonic()
        for number, (name, phase, since) in sorted(self._workers.items()):
            table.add_row(str(number), name, phase, f"{now - since:.0f} s")
        return Group(self._bar, table, counts)  # a short last line has room for "^C"
