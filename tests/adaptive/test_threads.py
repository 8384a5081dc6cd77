"""Many threads, one model: each gets the answer of the config that it asked for, bit for bit."""

from __future__ import annotations

import copy
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

import subpath
from subpath.adaptive.model import AdaptiveModel
from toys import TOYS

THREADS = 16


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads take turns every few microseconds instead of every five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def at_once(work: Callable[[int], object]) -> None:
    """Run ``work(number)`` in all threads; they begin together. Raises what one of them raises."""
    start = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        start.wait()
        with torch.inference_mode():
            work(number)

    with switching_often(), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(begin, range(THREADS)))


Case = tuple[str, torch.Tensor, torch.Tensor]


def cases(model: AdaptiveModel, inputs: Sequence[torch.Tensor]) -> list[Case]:
    """Each config with each input and the answer of a model that one thread uses alone."""
    alone = copy.deepcopy(model)
    with torch.no_grad():
        return [(s, x, alone(x, skip=s)) for s in alone.skip_configs() for x in inputs]


@pytest.mark.parametrize("toy", ["post-activation", "padded", "transformer"])
def test_the_first_calls_come_all_at_once(toy: str) -> None:
    """Making the code of a config, and tracing again for other shapes, is done by one of them."""
    known = TOYS[toy]
    adaptive = subpath.convert(known.build(), known.input())
    inputs = [known.input()]
    if toy == "padded":
        assert adaptive._forwards.by_size
        inputs += [torch.randn(1, 3, size, size) for size in (9, 10)]
    expected = cases(adaptive, inputs)
    for _ in range(2):
        fresh = copy.deepcopy(adaptive)

        def work(number: int, fresh: AdaptiveModel = fresh) -> None:
            turned = expected[number % len(expected) :] + expected[: number % len(expected)]
            for skip, x, answer in turned:
                assert torch.equal(fresh(x, skip=skip), answer), skip

        at_once(work)


def test_by_argument_and_by_context() -> None:
    known = TOYS["squeeze-excite"]
    adaptive = subpath.convert(known.build(), known.input())
    expected = cases(adaptive, [known.input()])

    def work(number: int) -> None:
        for turn in range(12):
            skip, x, answer = expected[(number + turn) % len(expected)]
            other = expected[(number + turn + 1) % len(expected)]
            with adaptive.using(skip):
                assert adaptive.skip == skip
                assert torch.equal(adaptive(x), answer)
                assert torch.equal(adaptive(x, skip=other[0]), other[2])
            assert adaptive.skip == "FF"

    at_once(work)


def test_one_thread_converts_while_others_run() -> None:
    """torch.fx changes how every module is called while it traces."""
    known = TOYS["padded"]
    adaptive = subpath.convert(known.build(), known.input())
    expected = cases(adaptive, [known.input()])
    done = threading.Event()

    def work(number: int) -> None:
        if number < 2:
            try:
                with torch.inference_mode(False):
                    again = subpath.convert(known.build(), known.input())
                assert again.plan == adaptive.plan
            finally:
                done.set()
        for skip, x, answer in itertools.cycle(expected):
            assert torch.equal(adaptive(x, skip=skip), answer)
            if done.is_set():
                return

    at_once(work)
