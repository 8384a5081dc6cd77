"""All configs on one batch: the same numbers as one by one, and shared parts run once."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch
from torch import nn

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel
from subpath.errors import SkipConfigError
from toys import TOYS

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small() -> AdaptiveModel:
    original = timm.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=5)
    return subpath.convert(toys.randomise(original).eval(), IMAGES)


@pytest.mark.parametrize("name", TOYS)
def test_the_numbers_are_those_of_single_calls(name: str) -> None:
    known = TOYS[name]
    model = subpath.convert(toys.randomise(known.build()).eval(), known.input())
    twins = dict(model.named_children()).get("twin_norms")
    if twins is not None:
        toys.randomise(twins, seed=1)
    with torch.no_grad():
        inputs = known.input()
        found = dict(model.outputs(inputs))
        assert set(found) == set(model.skip_configs())
        for skip, output in found.items():
            torch.testing.assert_close(output, model(inputs, skip=skip), rtol=0, atol=0)


def test_shared_parts_run_once() -> None:
    model, calls = small(), Counter[str]()
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    with torch.no_grad():
        assert len(list(model.outputs(IMAGES))) == 16
    # The first convolution of a stage comes before its first twin norm.
    assert calls["conv1"] == 1
    for stage, variants in enumerate((1, 2, 4, 8), start=1):
        assert calls[f"layer{stage}.0.conv1"] == variants
        assert calls[f"layer{stage}.0.conv2"] == 2 * variants
        assert calls[f"layer{stage}.1.conv1"] == variants  # where the block is not skipped
    assert calls["fc"] == 16


def test_some_configs_each_once() -> None:
    model = small()
    with torch.no_grad():
        found = [skip for skip, _ in model.outputs(IMAGES, skips=["TTTT", "FFTF", "TTTT"])]
    assert sorted(found) == ["FFTF", "TTTT"]
    assert list(model.outputs(IMAGES, skips=[])) == []
    with pytest.raises(SkipConfigError):
        list(model.outputs(IMAGES, skips=["TX"]))


def test_other_weights_and_statistics_are_met() -> None:
    model = small()
    with torch.no_grad():
        before = dict(model.outputs(IMAGES))
        model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()}, assign=True)
        subpath.calibrate(model, [IMAGES], "TTFF", keep=True)
        model.eval()
        for skip, output in model.outputs(IMAGES):
            assert torch.equal(output, model(IMAGES, skip=skip))
            assert not torch.equal(output, before[skip])


def test_patches_are_met() -> None:
    model = small()
    with torch.no_grad():
        before = dict(model.outputs(IMAGES))
        subpath.fit(model, [IMAGES], max_cost=1.0)
        assert model.plan.patches
        for skip, output in model.outputs(IMAGES):
            assert torch.equal(output, model(IMAGES, skip=skip))
            assert torch.equal(output, before[skip]) == (skip == "FFFF")


def test_train_mode_shares_nothing() -> None:
    model = small().train()
    for skip, output in model.outputs(IMAGES, skips=["FFFF", "TTTT"]):
        torch.manual_seed(0)
        assert output.requires_grad
        torch.testing.assert_close(output, model(IMAGES, skip=skip))


def test_stages_outputs_too_with_gradients() -> None:
    model, base = small(), "TTTT"
    for skip, (output, stages) in model.outputs(
        IMAGES, skips=["FFFF", "FTFF", base], features=True
    ):
        expected, own = model.forward_features_of_stages(IMAGES, skip=skip)
        assert torch.equal(output, expected)
        assert len(stages) == 4
        assert all(map(torch.equal, stages, own))
        (got,) = torch.autograd.grad(output.sum(), stages[-1])
        (wanted,) = torch.autograd.grad(expected.sum(), own[-1])
        assert torch.equal(got, wanted)
