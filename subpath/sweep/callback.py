"""What a sweep tells whoever watches it; the command line draws its view from this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .record import Record
from .worker_process import Task


class Callback(Protocol):
    """Gets told what happens. Every method may do nothing."""

    def begin(self, title: str, total: int, known: Sequence[Record]) -> None:
        """A round of the sweep begins.

        Args:
            title: what is asked in it.
            total: of how many networks, those that are known already included.
            known: records from earlier that answer it already.
        """

    def working(self, worker: int, task: Task, phase: str) -> None:
        """Worker number ``worker`` (from 1) is in this phase of a task."""

    def done(self, worker: int, record: Record) -> None:
        """A worker is done with a network."""

    def end(self) -> None:
        """The round is over, or was interrupted."""


class NoCallback:
    """A callback that does nothing."""

    def begin(self, title: str, total: int, known: Sequence[Record]) -> None:
        """Do nothing."""

    def working(self, worker: int, task: Task, phase: str) -> None:
        """Do nothing."""

    def done(self, worker: int, record: Record) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""
