"""The log of calls tells two networks apart that differ in one call, and only those."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from subpath.sweep.call_log import first_difference, log_calls


class Network(nn.Module):
    """Some calls of every kind; each step can be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = self.add(self.norm(self.branch(x)), x)
        left, right = (y * self.scale + self.table()).chunk(2, dim=1)
        return self.end(F.relu(self.subtract(left, right)))

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x)

    def add(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        y += x
        return y

    def table(self) -> torch.Tensor:
        return torch.arange(4.0).reshape(1, 4, 1, 1)

    def subtract(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def difference(changed: nn.Module, training: bool = False) -> str:
    with torch.device("meta"):
        x = torch.empty(2, 3, 8, 8)
        one = log_calls(Network().train(training), (x,))
        two = log_calls(changed.to("meta").train(training), (x,))
    return first_difference(one, two)


@pytest.mark.parametrize("training", [False, True])
def test_the_same_network_makes_the_same_calls(training: bool) -> None:
    assert difference(Network(), training) == ""
    assert difference(copy.deepcopy(Network()), training) == ""


def test_more_parameters_make_no_difference() -> None:
    network = Network()
    network.add_module("another", nn.Linear(3, 3))
    assert difference(network) == ""


CHANGES: dict[str, tuple[dict[str, Callable[..., torch.Tensor]], str]] = {
    "no sum": ({"add": lambda self, y, x: y}, "aten.mul"),
    "a sum that is not in place": ({"add": lambda self, y, x: y + x}, "aten.add.Tensor"),
    "another number": ({"add": lambda self, y, x: y.add_(x, alpha=2)}, "alpha=2"),
    "another weight": (
        {"branch": lambda self, x: F.conv2d(x, self.second.weight, self.first.bias, padding=1)},
        "first.bias",
    ),
    "another table": (
        {"table": lambda self: torch.arange(4.0).flip(0).reshape(1, 4, 1, 1)},
        "table",
    ),
    "swapped operands": ({"subtract": lambda self, left, right: right - left}, "aten.sub"),
    "another result": ({"end": lambda self, x: x}, "return"),
    "one call more": ({"end": lambda self, x: x.flatten(1).neg()}, "aten.neg"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_changed_call_is_found(change: str) -> None:
    methods, word = CHANGES[change]
    found = difference(type("Changed", (Network,), methods)())
    assert "expected" in found
    assert word in found


def test_the_mode_makes_a_difference() -> None:
    frozen = Network()
    frozen.norm.train = lambda mode=True: frozen.norm  # type: ignore[method-assign, assignment]
    frozen.norm.training = False
    assert difference(frozen, training=False) == ""
    assert difference(frozen, training=True) != ""


def test_a_table_may_be_ready_made_but_not_of_other_values() -> None:
    class ReadyMade(Network):
        def __init__(self, values: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("values", values.reshape(1, 4, 1, 1), persistent=False)

        def table(self) -> torch.Tensor:
            return self.values

    def found(values: torch.Tensor) -> str:
        network = ReadyMade(values).eval()
        tables = {"values": network.values.clone()}
        with torch.device("meta"):
            x = torch.empty(2, 3, 8, 8)
            one = log_calls(Network().eval(), (x,))
            two = log_calls(network.to("meta"), (x,), tables)
        return first_difference(one, two)

    assert found(torch.arange(4.0)) == ""
    assert "table" in found(torch.arange(4.0).flip(0))


def test_a_table_that_takes_values_of_the_network_is_one_no_more() -> None:
    class Filled(nn.Module):
        def __init__(self, order: tuple[int, int]) -> None:
            super().__init__()
            self.order = order
            self.one, self.two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            filled = torch.zeros(2, 3)
            filled[self.order[0]] = self.one
            filled[self.order[1]] = self.two
            return x * filled

    def calls(order: tuple[int, int]) -> tuple[str, ...]:
        with torch.device("meta"):
            return log_calls(Filled(order), (torch.empty(2, 3),)).lines

    assert calls((0, 1)) == calls((0, 1))
    assert calls((0, 1)) != calls((1, 0))


def test_views_of_one_memory_are_told_apart() -> None:
    class Halves(nn.Module):
        def __init__(self, first: int) -> None:
            super().__init__()
            self.first = first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            halves = x.chunk(2, dim=1)
            return halves[self.first].exp() + halves[1 - self.first].tanh()

    with torch.device("meta"):
        x = torch.empty(2, 4)
        assert log_calls(Halves(0), (x,)).lines != log_calls(Halves(1), (x,)).lines
