"""Counting leaves the module as it was, wherever its weights are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from subpath.errors import MeasureError
from subpath.measure import count


class Refuses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("not today")


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_a_module_on_the_meta_device_counts_the_same() -> None:
    with torch.device("meta"):
        there = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    here = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    inputs = (torch.zeros(1, 3, 8, 8),)
    assert count(there, inputs) == count(here, inputs)
    assert count(here, inputs).macs == 6 * 6 * 4 * (27 + 2)


def test_weights_statistics_and_mode_are_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    count(module, (torch.randn(1, 3, 8, 8),))
    assert module.training
    assert hooks(module) == 0
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_module_that_fails_keeps_no_hooks_and_says_why() -> None:
    module = Refuses()
    with pytest.raises(MeasureError, match="ValueError: not today"):
        count(module, (torch.zeros(1, 4),))
    assert hooks(module) == 0
    assert torch.backends.mha.get_fastpath_enabled()
