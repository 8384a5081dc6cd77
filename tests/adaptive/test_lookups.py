"""Generated code finds each module as it is when the call is made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import nn

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BLOCK = "layer2.0"


@pytest.fixture
def pair() -> Iterator[tuple[nn.Module, AdaptiveModel]]:
    """An original, and its conversion after a first call: its code is made."""
    torch.manual_seed(0)
    original = timm.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=5)
    original = toys.randomise(original).eval()
    model = subpath.convert(original, IMAGES)
    with torch.no_grad():
        assert torch.equal(model(IMAGES), original(IMAGES))
        yield original, model


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(x) * 2
        return result


class Transparent(nn.Module):
    """A wrapper that hands attributes through, as those of FSDP and torch.compile do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x)


def same(original: nn.Module, model: AdaptiveModel) -> bool:
    return torch.equal(model(IMAGES), original(IMAGES))


def test_a_replaced_leaf_is_called(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    original, model = pair
    for network in pair:
        network.set_submodule("conv1", Doubled(network.get_submodule("conv1")))
        block: Any = network.get_submodule(BLOCK)
        block.conv2 = Doubled(block.conv2)
    before = model(IMAGES)
    assert same(original, model)
    model.get_submodule(BLOCK).conv2 = nn.Conv2d(8, 8, 3, padding=1)
    assert not torch.equal(model(IMAGES), before)


def test_parts_of_a_replaced_block_are_called(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    original, model = pair
    other = timm.create_model("resnet18", channels=[8, 8, 8, 8]).eval().get_submodule(BLOCK)
    for network in pair:
        network.set_submodule(BLOCK, other)
    assert same(original, model)
    for network in pair:  # the whole stage at once
        network.set_submodule("layer2", nn.Sequential(other, network.get_submodule("layer2.1")))
    assert same(original, model)


def test_a_wrapped_block_is_looked_into(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    original, model = pair
    model.set_submodule(BLOCK, Transparent(model.get_submodule(BLOCK)))
    assert same(original, model)
    model.set_submodule(BLOCK, model.get_submodule(BLOCK).inner)
    assert same(original, model)


def test_assigned_weights_hooks_and_types_are_met(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    original, model = pair
    state = {
        key: value * 1.5 if value.is_floating_point() else value
        for key, value in original.state_dict().items()
    }
    original.load_state_dict(state, assign=True)
    twins = {k: v for k, v in model.state_dict().items() if k not in state}
    model.load_state_dict({**state, **twins}, assign=True)
    assert same(original, model)
    for network in pair:
        network.get_submodule(f"{BLOCK}.conv1").register_forward_hook(lambda m, a, out: out + 1)
    assert same(original, model)
    model.to(torch.bfloat16), original.to(torch.bfloat16)
    images = IMAGES.bfloat16()
    assert torch.equal(model(images), original(images))


def test_a_copy_calls_its_own_modules(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    original, model = pair
    copied = copy.deepcopy(model)
    assert same(original, copied)
    nn.init.zeros_(model.get_submodule("layer1.0.conv1").weight)
    assert same(original, copied)


def test_a_module_that_is_gone_is_told_by_name(pair: tuple[nn.Module, AdaptiveModel]) -> None:
    _, model = pair
    del model.get_submodule(BLOCK).conv2
    with pytest.raises(AttributeError, match="conv2"):
        model(IMAGES)
