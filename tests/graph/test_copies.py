"""A model's copy is what ``copy.deepcopy`` makes of it."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import toys
from subpath.graph.copies import deep_copy, shape_copy


class Odd(nn.Module):
    """Attributes of all kinds, some of them twice, and a way back to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Conv2d(2, 2, 3)
        self.register_buffer("index", torch.arange(4), persistent=False)
        self.table = self.same_table = torch.ones(3)
        self.pair = (self.table, [self.first])
        self.function = partial(torch.add, alpha=2)
        self.names = {"a": {1, 2}, (1, 2): frozenset({3})}
        self.forms = [torch.Size([1, 2]), torch.float16, slice(2)]
        self.itself = [self]


class Counts(nn.Module):
    """Has a copy of its own kind."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counts:
        made = Counts()
        made.copies = self.copies + 1
        return made


def test_shared_things_stay_shared_and_the_original_is_left_alone() -> None:
    model = Odd()
    model.inner = Counts()
    copied: Any = deep_copy(model)
    assert copied.first is copied.again is copied.pair[1][0] is not model.first
    assert copied.table is copied.same_table is copied.pair[0] is not model.table
    assert copied.itself[0] is copied
    assert copied._non_persistent_buffers_set == {"index"}
    assert copied.names == model.names
    assert copied.names["a"] is not model.names["a"]
    assert copied.forms == model.forms
    assert copied.inner.copies == 1
    assert copied.first._parameters is not model.first._parameters


@pytest.mark.parametrize(
    "model",
    [
        Odd(),
        toys.two_stages(toys.PostActivation, (2, 2)),
        nn.MultiheadAttention(4, 2),
        parametrizations.weight_norm(nn.Linear(2, 2)),
        nn.Sequential(nn.BatchNorm2d(3), nn.LSTM(2, 2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_it_has_the_attributes_that_deepcopy_gives(model: nn.Module) -> None:
    expected, got = copy.deepcopy(model), deep_copy(model)
    for (path, one), (same, two) in zip(expected.named_modules(), got.named_modules(), strict=True):
        assert path == same
        assert type(one).__name__ == type(two).__name__
        assert list(vars(one)) == list(vars(two))
    before, after = expected.state_dict(), got.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert before.keys() == after.keys()
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    assert not any(id(tensor) in own for tensor in (*got.parameters(), *got.buffers()))


def test_a_shape_copy_keeps_strides() -> None:
    model = nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last)
    assert shape_copy(model).weight.stride() == model.weight.stride()
