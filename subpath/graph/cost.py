"""What one run of a network costs, by the operators that reach torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .facts import flops
from .shapes import NoFastPath, Quickly


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Attributes:
        macs: multiply-adds of matrix products, convolutions and attention, by operator.
        others: how often each other operator was called.
    """

    macs: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All multiply-adds."""
        return sum(self.macs.values())


def cost_of(run: Callable[[], Any]) -> Cost:
    """Count what ``run()`` does; by the formulas of ``torch.utils.flop_counter``, halved."""
    counter = _Counter()
    with torch.no_grad(), NoFastPath(), counter:
        run()
    return counter.work


class _Counter(Quickly):
    def __init__(self) -> None:
        super().__init__()
        self.work = Cost()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        name = func._overloadpacket.__name__
        found = flops(func, args, kwargs or {}, result) // 2
        if found:
            self.work.macs[name] += found
        else:
            self.work.others[name] += 1
        return result
