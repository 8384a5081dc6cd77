"""The process that examines networks, one at a time: reads tasks on stdin, answers on stdout.

``python -m subpath.sweep.worker``; one JSON document a line in both directions. Whatever a
network's own code prints goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any

from .errors import OnPhase

Task = Mapping[str, str]


def serve(answer: Callable[[Task, OnPhase], Any]) -> None:
    """Answer tasks until stdin ends; then end at once, whatever is being done.

    Args:
        answer: makes the answer to one task; it may tell meanwhile what it is doing.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def write(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")

    tasks: SimpleQueue[Task] = SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    write(ready=True)
    while True:
        task = tasks.get()
        write(answer=answer(task, lambda phase: write(phase=phase)))
        gc.collect()
        gc.freeze()  # what is left was imported or is remembered: no need to look through it again


def _read(tasks: SimpleQueue[Task]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)  # whoever asked is gone


def _answer(task: Task, on_phase: OnPhase) -> Any:
    from . import parity, structure

    if task["kind"] == "parity":
        checks = parity.compare(task["library"], task["name"], on_phase)
        return {name: asdict(check) for name, check in checks.items()}
    return structure.examine(task["library"], task["name"], on_phase).to_dict()


def main() -> None:
    """Serve with one thread: several workers share the machine."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    serve(_answer)


if __name__ == "__main__":
    main()
