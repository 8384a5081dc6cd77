"""Worker processes that are given tasks, watched, and replaced when one of them goes wrong.

A network can hang, crash the interpreter or take all memory. Each is examined in a process that is
killed from outside when it exceeds a limit; the others do not notice.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol

from ..errors import SweepError
from .worker_process import Message, Task, WorkerProcess

COMMAND = (sys.executable, "-m", "subpath.sweep.worker")
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Limits:
    """What one task may use.

    Attributes:
        seconds: of time.
        memory: bytes of resident memory of its process.
    """

    seconds: float = 300.0
    memory: int = 8 * 2**30


@dataclass(frozen=True)
class Done:
    """How one task ended.

    Attributes:
        task: as it was given.
        worker: which worker did it, from 1.
        seconds: how long it took.
        answer: of the worker; ``None`` if it was stopped or died.
        trouble: why there is no answer.
    """

    task: Task
    worker: int
    seconds: float
    answer: Any = None
    trouble: str = ""


class Watcher(Protocol):
    """Gets told what the workers do."""

    def working(self, worker: int, task: Task, phase: str) -> None:
        """Worker number ``worker`` (from 1) is in this phase of a task."""


class Pool:
    """Use it in a ``with`` block: no worker outlives that."""

    def __init__(
        self,
        workers: int,
        limits: Limits,
        watcher: Watcher,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start nothing yet.

        Args:
            workers: how many processes, at most.
            limits: for each task.
            watcher: is told what they do.
            command: starts one worker (see :func:`subpath.sweep.worker.serve`).
        """
        self._limits = limits
        self._watcher = watcher
        self._command = command
        self._free = list(range(workers, 0, -1))
        self._workers: dict[int, WorkerProcess] = {}
        self._news: SimpleQueue[Message] = SimpleQueue()

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        """Let the workers do all tasks; yields each when it has ended, well or not.

        Raises:
            SweepError: workers cannot be started.
        """
        waiting = deque(tasks)
        while waiting or self._busy():
            while self._free and len(waiting) > len(self._workers) - len(self._busy()):
                self._start()
            for worker in self._workers.values():
                if worker.ready and worker.task is None and waiting:
                    worker.give(waiting.popleft())
            yield from self._read()
            yield from self._look_after()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in list(self._workers):
            self._end(number)

    def _busy(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.task is not None]

    def _start(self) -> None:
        number = self._free.pop()
        self._workers[number] = WorkerProcess(number, self._command, self._news)

    def _end(self, number: int) -> None:
        self._workers.pop(number).kill()
        self._free.append(number)

    def _read(self) -> Iterator[Done]:
        """What workers say; waits a moment for it."""
        try:
            message = self._news.get(timeout=SECONDS_BETWEEN_LOOKS)
            while True:
                yield from self._understand(message)
                message = self._news.get_nowait()
        except Empty:
            pass

    def _understand(self, message: Message) -> Iterator[Done]:
        worker = self._workers.get(message.worker.number)
        if worker is not message.worker:  # its last words, after it was replaced
            return
        content = message.content
        if "ready" in content:
            worker.ready = True
        elif "end" in content:
            worker.ended = True
        elif "phase" in content and worker.task is not None:
            worker.phase = str(content["phase"])
            self._watcher.working(worker.number, worker.task, worker.phase)
        elif "answer" in content and worker.task is not None:
            yield Done(worker.task, worker.number, worker.seconds, answer=content["answer"])
            worker.task = None
            if worker.memory > self._limits.memory / 2:  # what earlier tasks left behind
                self._end(worker.number)

    def _look_after(self) -> Iterator[Done]:
        """Replace workers that exceed a limit or are no more."""
        for worker in list(self._workers.values()):
            trouble = self._trouble(worker)
            if not trouble:
                continue
            if worker.task is not None:
                yield Done(worker.task, worker.number, worker.seconds, trouble=trouble)
            elif not worker.ready:
                raise SweepError(
                    f"got a worker process that did not start: {trouble}. Expected that "
                    f"{' '.join(self._command)} can be run"
                )
            self._end(worker.number)

    def _trouble(self, worker: WorkerProcess) -> str:
        if worker.ended:
            return worker.end() + worker.during
        if worker.task is None:
            return ""
        if worker.seconds > self._limits.seconds:
            return f"it took more than {self._limits.seconds:g} seconds{worker.during}"
        if worker.memory > self._limits.memory:
            limit = self._limits.memory / 2**30
            return f"it took more than {limit:.3g} GiB of memory{worker.during}"
        return ""
