"""Workers that hang, crash or take all memory harm nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from subpath.errors import SweepError
from subpath.sweep.pool import Done, Limits, Pool
from subpath.sweep.worker_process import Task

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
linux = pytest.mark.skipif(not Path("/proc").exists(), reason="memory is read from /proc")


class Watcher:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def working(self, worker: int, task: Task, phase: str) -> None:
        self.heard.append((task["name"], phase))


def run(*names: str, workers: int = 1, seconds: float = 60, memory: int = 2**33) -> dict[str, Done]:
    with Pool(workers, Limits(seconds, memory), Watcher(), COMMAND) as pool:
        done = list(pool.run({"name": name} for name in names))
    assert sorted(end.task["name"] for end in done) == sorted(names)
    return {end.task["name"]: end for end in done}


def test_answers_come_back_and_a_worker_stays() -> None:
    watcher = Watcher()
    with Pool(1, Limits(), watcher, COMMAND) as pool:
        done = list(pool.run([{"name": "one"}, {"name": "two"}]))
        more = list(pool.run([{"name": "three"}]))
    assert [end.answer["name"] for end in (*done, *more)] == ["one", "two", "three"]
    assert len({end.answer["pid"] for end in (*done, *more)}) == 1
    assert not any(end.trouble for end in done)
    assert watcher.heard == [
        ("one", "trying one"),
        ("two", "trying two"),
        ("three", "trying three"),
    ]


def test_workers_share_the_work() -> None:
    done = run(*(f"task {i}" for i in range(12)), workers=3)
    assert len({end.answer["pid"] for end in done.values()}) <= 3
    assert {end.worker for end in done.values()} <= {1, 2, 3}


def test_no_more_workers_than_tasks() -> None:
    assert {end.worker for end in run("one", workers=8).values()} == {1}


def test_one_that_hangs_is_stopped() -> None:
    done = run("one", "hangs", "two", seconds=0.5)
    assert done["hangs"].answer is None
    assert done["hangs"].trouble == "it took more than 0.5 seconds, while: trying hangs"
    assert done["one"].answer
    assert done["two"].answer
    assert done["two"].answer["pid"] != done["one"].answer["pid"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crashes", "its process ended with status 3 and said: last words, while: trying crashes"),
        ("is killed", "its process ended with signal SIGKILL"),
    ],
)
def test_one_that_dies_is_replaced(name: str, said: str) -> None:
    done = run("one", name, "two")
    assert done[name].trouble.startswith(said)
    assert done["one"].answer
    assert done["two"].answer


@linux
def test_one_that_takes_all_memory_is_stopped() -> None:
    done = run("one", "eats", "two", memory=2**28)
    assert "more than 0.25 GiB of memory" in done["eats"].trouble
    assert done["two"].answer


@linux
def test_one_that_keeps_its_memory_is_replaced() -> None:
    done = run("one", "leaves", "two", memory=2**29)
    assert not any(end.trouble for end in done.values())
    assert done["one"].answer["pid"] == done["leaves"].answer["pid"] != done["two"].answer["pid"]


def test_a_worker_that_does_not_start_is_no_endless_loop() -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such thing')")
    with (
        Pool(1, Limits(), Watcher(), command) as pool,
        pytest.raises(SweepError, match=r"status 1 and said: no such thing"),
    ):
        list(pool.run([{"name": "one"}]))


def test_no_worker_outlives_the_pool() -> None:
    with Pool(2, Limits(), Watcher(), COMMAND) as pool:
        running = pool.run([{"name": "one"}, {"name": "hangs"}, {"name": "hangs"}])
        pid = next(running).answer["pid"]
        os.kill(pid, 0)  # it is there
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_worker_outlives_its_parent() -> None:
    worker = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(b'{"name": "hangs"}\n')
    worker.stdin.flush()
    assert worker.stdout.readline() == b'{"ready": true}\n'
    assert worker.stdout.readline() == b'{"phase": "trying hangs"}\n'
    time.sleep(0.1)
    assert worker.poll() is None
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0
    worker.stdout.close()
