"""One worker process, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

Task = Mapping[str, str]


@dataclass(frozen=True)
class Message:
    """What a worker said."""

    worker: WorkerProcess
    content: Mapping[str, Any]


class WorkerProcess:
    """A worker process and the task it is at.

    Attributes:
        number: of the worker.
        ready: whether it has started and can be given a task.
        ended: whether it has ended by itself, and all that it said was heard.
        task: what it is doing.
        phase: which part of the task it is at.
    """

    def __init__(self, number: int, command: Sequence[str], news: SimpleQueue[Message]) -> None:
        """Start it; what it says is put into ``news``."""
        self.number = number
        self.ready = False
        self.ended = False
        self.task: Task | None = None
        self.phase = ""
        self._since = time.monotonic()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 closed with the process
        # A session of its own: Ctrl-C is for the parent, which then decides.
        self._process = subprocess.Popen(  # noqa: S603 our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(news,), daemon=True)
        self._reader.start()

    def give(self, task: Task) -> None:
        """Let it do ``task``."""
        self.task, self.phase, self._since = task, "", time.monotonic()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, as will be seen
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what was still to be written
                pipe.close()

    @property
    def seconds(self) -> float:
        """Since it was given its task."""
        return time.monotonic() - self._since

    @property
    def memory(self) -> int:
        """Bytes of resident memory; 0 where there is no ``/proc`` (on other systems than Linux)."""
        try:
            _, pages, *_ = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        except (OSError, ValueError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> str:
        """How it ended by itself; waits for it."""
        status = self._process.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with {how}" + (f" and said: {words[-1]}" if words else "")

    @property
    def during(self) -> str:
        """The phase it is at, to end a sentence with."""
        return f", while: {self.phase}" if self.phase else ""

    def _read(self, news: SimpleQueue[Message]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            news.put(Message(self, json.loads(line)))
        news.put(Message(self, {"end": True}))


def _environment() -> dict[str, str]:
    """One thread for each worker, and all that can be imported here can be there."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
