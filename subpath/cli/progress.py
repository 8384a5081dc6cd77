"""Progress bars of a run: loss, learning rate, samples a second, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from ..report import metric_value

TITLES = {
    "train": "training",
    "finetune": "fine-tuning",
    "calibrate": "calibrating",
    "evaluate": "evaluating",
    "diagnose": "looking at blocks",
}
SECONDS_BETWEEN_READINGS = 0.25


class ProgressBars:
    """A :class:`subpath.finetune.callback.Callback` that draws on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._batch_size = 0
        self._batches = 0
        self._last = (0.0, 0)

    def begin(self, phase: str, epochs: int, batches: int, batch_size: int, done: int) -> None:
        """Draw a new bar, with what was done before it."""
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._batch_size = batch_size
        self._batches = 0
        self._last = (time.monotonic(), 0)
        title = TITLES.get(phase, phase)
        self._task = self._progress.add_task(
            title, total=epochs * batches, completed=done, numbers=""
        )
        self._progress.start()

    def batch(self, loss: Tensor | None, learning_rate: float | None) -> None:
        """Move the bar; the numbers are read now and then, as reading a loss waits for it."""
        assert self._progress is not None
        self._batches += 1
        before, done = self._last
        now = time.monotonic()
        if now - before < SECONDS_BETWEEN_READINGS:
            self._progress.advance(self._task)
            return
        speed = (self._batches - done) * self._batch_size / (now - before)
        self._last = (now, self._batches)
        numbers = [f"{speed:.0f} samples/s"]
        if loss is not None:
            numbers.insert(0, f"loss {float(loss):.3f}")
        if learning_rate is not None:
            numbers.insert(1, f"lr {learning_rate:.2g}")
        self._progress.update(self._task, advance=1, numbers="  ".join(numbers))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print one line about the epoch above the bar."""
        assert self._progress is not None
        told = "  ".join(
            f"{which} {metric_value(metric, value)}"
            for metric, values in record.items()
            if isinstance(values, Mapping)
            for which, value in values.items()
        )
        self._progress.console.print(
            f"epoch {record['epoch']:3}  loss {record['loss']:.4f}  {told}", style="dim"
        )

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
