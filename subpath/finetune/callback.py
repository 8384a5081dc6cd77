"""What a run tells whoever watches it; the command line draws progress bars from this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Callback(Protocol):
    """Gets told what happens. Every method may do nothing."""

    def begin(self, phase: str, epochs: int, batches: int, batch_size: int, done: int) -> None:
        """A phase begins: ``train``, ``finetune`` or ``evaluate``.

        Args:
            phase: its name.
            epochs: how often it goes through the data.
            batches: updates of the weights in each epoch.
            batch_size: images in an update.
            done: updates that an earlier start of the run has done.
        """

    def batch(self, loss: Tensor | None, learning_rate: float | None) -> None:
        """An update is done; ``loss`` may still be on its way on the device."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; ``record`` is its line in ``log.jsonl``."""

    def end(self) -> None:
        """The phase is over."""


class NoCallback:
    """A callback that does nothing."""

    def begin(self, phase: str, epochs: int, batches: int, batch_size: int, done: int) -> None:
        """Do nothing."""

    def batch(self, loss: Tensor | None, learning_rate: float | None) -> None:
        """Do nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""
