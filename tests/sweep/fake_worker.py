"""A worker that misbehaves as the name of its task says; started by the tests of the pool."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from subpath.sweep.worker import serve


def answer(task: Any, tell: Any) -> Any:
    name = task["name"]
    tell(f"trying {name}")
    if name == "hangs":
        time.sleep(600)
    if name == "crashes":
        sys.stderr.write("one line\nlast words\n")
        sys.stderr.flush()
        os._exit(3)
    if name == "is killed":
        os.kill(os.getpid(), 9)
    if name == "eats":
        eaten = []
        while True:
            eaten.append(bytearray(b"x" * 2**24))
            time.sleep(0.01)
    if name == "leaves":  # what it took is not given back
        LEFT.append(bytearray(b"x") * (300 * 2**20))
    print("a network may print")
    return {"name": name, "pid": os.getpid()}


LEFT: list[bytearray] = []

if __name__ == "__main__":
    serve(answer)
