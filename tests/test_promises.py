"""The design's promises, on every network that the library names."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import subpath
from families import NETWORKS, First, Network
from subpath.adaptive.model import AdaptiveModel

pytestmark = pytest.mark.filterwarnings(
    # timm's Swin and LeViT index with a list that torch.fx hands over as a tuple
    "ignore:.*non-tuple sequence for multidimensional indexing.*:UserWarning"
)


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Network, nn.Module, AdaptiveModel]:
    """A network, the original and the converted model."""
    network: Network = request.param
    model = network.build(**network.drops)
    return network, model, subpath.convert(model, network.images())


Pair = tuple[Network, nn.Module, AdaptiveModel]


@pytest.fixture(autouse=True)
def _same_every_time() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_super_net_is_the_original_in_eval(pair: Pair) -> None:
    network, model, adaptive = pair
    model.eval(), adaptive.eval()
    for images in (network.images(), network.images(batch=3)):
        with torch.no_grad():
            assert torch.equal(adaptive(images), model(images))
    if network.any_size:
        images = network.images(batch=1, size=network.size + 32)
        with torch.no_grad():
            assert torch.equal(adaptive(images), model(images))


def test_a_train_step_is_the_original_s(pair: Pair) -> None:
    network, model, adaptive = copy.deepcopy(pair)
    expected, got = _step(model, network), _step(adaptive, network)
    twins = {name for name in got if name.startswith("twin_norms.")}
    assert got.keys() - twins == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


def test_state_dict_keeps_every_key_and_shape(pair: Pair) -> None:
    _, model, adaptive = pair
    original, converted = model.state_dict(), adaptive.state_dict()
    for name, value in original.items():
        assert converted[name].shape == value.shape
        assert torch.equal(converted[name], value)
    added = converted.keys() - original.keys()
    assert all(name.startswith("twin_norms.") for name in added)
    for name in added:  # twins start as copies
        assert torch.equal(converted[name], original[name.split(".", 2)[2]])


def test_closed_gates_are_blocks_taken_out_by_hand(pair: Pair) -> None:
    network, model, adaptive = pair
    model.eval(), adaptive.eval()
    images = network.images()
    stages = len(adaptive.stages)
    configs = {"T" * stages, "T" + "F" * (stages - 1), "F" * (stages - 1) + "T"}
    for config in sorted(configs):
        by_hand = _without(model, network, adaptive, config)
        with torch.no_grad():
            assert torch.equal(adaptive(images, skip=config), by_hand(images)), config
            assert torch.equal(adaptive.subnet(config)(images), by_hand(images)), config


def test_skipped_blocks_do_not_run(pair: Pair) -> None:
    _, _, adaptive = pair
    adaptive.eval()
    base_net = "T" * len(adaptive.stages)
    used = {name for name, _ in adaptive.subnet(base_net).named_parameters()}
    for stage in adaptive.stages:
        for block in stage.skippable:
            skipped = {n for n in used if n.startswith(block + ".")}
            assert not skipped - _kept_scales(adaptive, block)
    assert adaptive.share_of_work(base_net) < 0.9


def test_every_config_trains(pair: Pair) -> None:
    network, _, adaptive = pair
    base_net = "T" * len(adaptive.stages)
    gradients = _step(copy.deepcopy(adaptive), network, skip=base_net)
    norms = [name for name in gradients if name.startswith("grad twin_norms.")]
    for name in norms:
        assert torch.isfinite(gradients[name]).all(), name
    weights = [t for t in adaptive.plan.twin_norms if _has_weight(adaptive, t.path)]
    assert bool(norms) == bool(weights)


def test_bfloat16(pair: Pair) -> None:
    network, model, adaptive = copy.deepcopy(pair)
    model.eval().to(torch.bfloat16)
    adaptive.eval().to(torch.bfloat16)
    images = network.images(batch=1).to(torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(adaptive(images), model(images))


def test_the_caller_s_model_is_left_as_it_was() -> None:
    network = NETWORKS[0]
    model = network.build()
    before = copy.deepcopy(model)
    values = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    adaptive = subpath.convert(model)
    with torch.no_grad():
        for parameter in adaptive.parameters():
            parameter.zero_()
    assert {n: id(v) for n, v in model.state_dict(keep_vars=True).items()} == values
    for (name, one), (_, two) in zip(model.named_modules(), before.named_modules(), strict=True):
        assert vars(one).keys() == vars(two).keys(), name
        assert one.training == two.training
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def _step(model: nn.Module, network: Network, **arguments: Any) -> dict[str, torch.Tensor]:
    """Loss, gradients and buffers after one training pass under a fixed seed."""
    model.train()
    torch.manual_seed(3)
    output = model(network.images(), **arguments)
    heads = output if isinstance(output, tuple) else (output,)
    loss = sum(head.float().square().mean() for head in heads)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    found = {"loss": loss.detach()}
    found |= {n: buffer for n, buffer in model.named_buffers() if "num_batches" not in n}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"grad {name}"] = parameter.grad
    return found


def _without(model: nn.Module, network: Network, adaptive: AdaptiveModel, config: str) -> nn.Module:
    """A copy of the original whose skipped blocks are replaced by what gives back its input."""
    by_hand = copy.deepcopy(model)
    for letter, stage in zip(config, adaptive.stages, strict=True):
        for path in stage.skippable if letter == "T" else ():
            stand_in = network.removed(by_hand.get_submodule(path)) if network.removed else First()
            by_hand.set_submodule(path, stand_in)
    return by_hand


def _kept_scales(adaptive: AdaptiveModel, block: str) -> set[str]:
    """Learned scales on the shortcut stay: the shortcut, not the branch, runs through them."""
    module = adaptive.get_submodule(block)
    scales = [n for n, m in module.named_modules() if type(m).__name__ == "Scale"]
    return {f"{block}.{scale}.scale" for scale in scales}


def _has_weight(adaptive: AdaptiveModel, path: str) -> bool:
    return any(True for _ in adaptive.get_submodule(path).parameters())
