"""Run as a program: a run that is killed again and again, and one that is left alone.

    python interrupted.py RECIPE.yaml OUT

Each start is forked from here, so that torch is imported once, and killed by SIGKILL: after a given
number of updates, while a checkpoint is being written, after one, while the log is written, or at
a random moment. Prints how each start ended.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from subpath.finetune import finetune, read_recipe, resume, training
from subpath.finetune.callback import NoCallback


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Counting(NoCallback):
    """Dies at an update."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def batch(self, loss, learning_rate):
        self.left -= 1
        if self.left == 0:
            die()


def in_the_middle_of_a_checkpoint() -> None:
    def half(tensors, path, metadata):
        whole(tensors, path, metadata)
        os.truncate(path, path.stat().st_size // 2)
        die()

    whole, resume.save_file = resume.save_file, half


def before_the_checkpoint_has_its_name() -> None:
    resume._digest = die


def after_a_checkpoint() -> None:
    def write(*arguments):
        whole(*arguments)
        die()

    whole, training.write_checkpoint = training.write_checkpoint, write


def in_the_middle_of_a_line_of_the_log() -> None:
    def append(folder, record):
        with (folder / "log.jsonl").open("a") as file:
            file.write('{"phase": "fine')
        die()

    training.append_to_log = append


def start(recipe: Path, out: Path, before: Callable[[], None] | None, updates: int) -> int:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        if before is not None:
            before()
        finetune(read_recipe(recipe), out, resume=True, callback=Counting(updates))
        os._exit(0)
    return child


def main() -> None:
    recipe, out = Path(sys.argv[1]), Path(sys.argv[2])
    chance = random.Random(int(time.time()))
    starts: list[tuple[Callable[[], None] | None, int]] = [
        (None, 1),
        (None, 5),  # in the first phase
        (in_the_middle_of_a_checkpoint, -1),
        (after_a_checkpoint, -1),
        (None, 6),  # at the border of the phases
        (in_the_middle_of_a_line_of_the_log, -1),
        (before_the_checkpoint_has_its_name, -1),
        (None, 4),
    ]
    for before, updates in starts:
        _, status = os.waitpid(start(recipe, out / "killed", before, updates), 0)
        print(updates, os.waitstatus_to_exitcode(status), flush=True)
    for _ in range(2):
        child = start(recipe, out / "killed", None, -1)
        time.sleep(chance.uniform(0.2, 1.5))
        os.kill(child, signal.SIGKILL)
        print("random", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    for name in ("killed", "whole"):
        _, status = os.waitpid(start(recipe, out / name, None, -1), 0)
        print(name, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
