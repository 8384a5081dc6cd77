"""How far a long call is: one form of callback for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

OnProgress = Callable[[str, int, int | None], Any]
"""``on_progress(step, done, total)``: what is being done, in a few words; how many parts of it are
done; and how many there are, or ``None`` if nobody knows. ``print`` is one."""

Item = TypeVar("Item")


def no_progress(step: str, done: int, total: int | None) -> None:
    """An :data:`OnProgress` that nobody watches."""


def first_of(
    items: Iterable[Item], most: int | None, step: str, on_progress: OnProgress
) -> Iterator[Item]:
    """The first ``most`` items, or all; ``on_progress`` is called when the work on each is done."""
    total = _at_most(items, most)
    for done, item in enumerate(islice(items, most), 1):
        yield item
        on_progress(step, done, total)


def _at_most(items: Iterable[Any], most: int | None) -> int | None:
    try:
        known = len(items)  # type: ignore[arg-type]
    except TypeError:  # a generator, or a loader over one
        return most
    return known if most is None else min(known, most)
