"""Adapters: what the original does not have, in a file of its own."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file

import subpath
from saved import ARGUMENTS, SIZE, description, small, weights_of
from subpath import checkpoint, zoo
from subpath.errors import CheckpointError


@pytest.fixture
def pair(tmp_path):
    model = small()
    subpath.fit(model, [torch.randn(8, *SIZE)], rank=2)
    original = zoo.create_model("resnet18", **ARGUMENTS)
    original.load_state_dict(subpath.original_state_dict(model))
    model.save_adapter(tmp_path)
    return model, original.eval(), tmp_path


def test_an_adapter_makes_the_original_adaptive_again(pair):
    model, original, directory = pair
    before = copy.deepcopy(original.state_dict())
    again = subpath.load_adapter(original, directory)
    assert again.plan == model.plan
    x = torch.randn(3, *SIZE)
    for skip in model.skip_configs():
        assert torch.equal(again(x, skip=skip), model(x, skip=skip)), skip
    assert torch.equal(again(x), original(x))
    assert all(torch.equal(before[key], value) for key, value in original.state_dict().items())


def test_it_holds_no_weight_of_the_original(pair):
    model, original, directory = pair
    written = load_file(weights_of(directory))
    expected = model.state_dict().keys() - original.state_dict().keys()
    assert written.keys() == expected
    numbers = sum(value.numel() * value.element_size() for value in written.values())
    assert weights_of(directory).stat().st_size < numbers + 200 * len(written)


@pytest.mark.parametrize("change", ["a weight", "a statistic", "precision"])
def test_other_weights_are_refused(pair, change):
    _, original, directory = pair
    if change == "precision":
        original.half()
    else:
        name = "conv1.weight" if change == "a weight" else "bn1.running_mean"
        original.state_dict()[name].view(-1)[0] += 1e-3
    with pytest.raises(CheckpointError, match="expected"):
        subpath.load_adapter(original, directory)


def test_shared_weights_are_the_original_s_own(pair):
    model, original, directory = pair
    models = {name: subpath.load_adapter(original, directory, share=True) for name in "ab"}
    for found in models.values():
        for key, value in original.state_dict().items():
            assert found.state_dict()[key].data_ptr() == value.data_ptr(), key
    x = torch.randn(2, *SIZE)
    assert torch.equal(models["a"](x, skip="TTTT"), model(x, skip="TTTT"))
    twins = [dict(m.skip_aware_parameters()) for m in models.values()]
    assert all(twins[0][n].data_ptr() != twins[1][n].data_ptr() for n in twins[0])


def test_adapters_and_models_are_told_apart(pair, tmp_path):
    model, original, directory = pair
    with pytest.raises(CheckpointError, match="load_adapter"):
        subpath.load(directory)
    with pytest.raises(CheckpointError, match="holds an adapter"):
        checkpoint.verify(directory)
    model.save(tmp_path / "whole")
    with pytest.raises(CheckpointError, match="whole model"):
        subpath.load_adapter(original, tmp_path / "whole")
    assert description(tmp_path / "whole")["original"] is None


def test_whole_models_keep_their_patches(pair, tmp_path):
    model, _, _ = pair
    model.save(tmp_path / "whole")
    again = subpath.load(tmp_path / "whole")
    x = torch.randn(3, *SIZE)
    for skip in model.skip_configs():
        assert torch.equal(again(x, skip=skip), model(x, skip=skip)), skip


def test_other_weights_loaded_into_it_make_fresh_patches(pair):
    model, original, _ = pair
    subpath.load_original(model, original.state_dict())
    assert all(
        p.eq(0).all()
        for n, p in model.named_parameters()
        if n.endswith("0.1.weight") and "patches" in n
    )
