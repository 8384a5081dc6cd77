"""Recipes that leave the original as it is."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import subpath
from stopping import Stop, Stopping
from subpath import zoo
from subpath.checkpoint import read_weights
from subpath.errors import CheckpointError, RecipeError
from subpath.finetune import check_recipe, finetune


@pytest.fixture
def frozen(recipe) -> dict:
    return {
        **recipe,
        "fit": {"images": 12, "batch_size": 6, "max_cost": 0.5},
        "finetune": {**recipe["finetune"], "original": "frozen"},
    }


def test_the_super_net_stays_the_original(frozen, tmp_path):
    """Also with dropout and an average of the weights, which would move what is not frozen."""
    frozen["finetune"] |= {"ema": {"decay": 0.9}}
    frozen["model"]["arguments"] |= {"drop_path_rate": 0.5}
    finetune(check_recipe(frozen), tmp_path / "run")
    model = subpath.load(tmp_path / "run")
    assert model.plan.patches
    again = finetune(
        check_recipe({**frozen, "finetune": {**frozen["finetune"], "epochs": 1}}), tmp_path / "b"
    )
    other = subpath.load(tmp_path / "b")
    one, two = (subpath.original_state_dict(m) for m in (model, other))
    assert all(torch.equal(one[key], two[key]) for key in one)
    learned = dict(model.skip_aware_parameters())
    changed = [n for n, p in other.skip_aware_parameters() if not torch.equal(p, learned[n])]
    assert len(changed) == len(learned)
    assert again.configs


def test_it_writes_an_adapter(frozen, tmp_path):
    finetune(check_recipe(frozen), tmp_path)
    model = subpath.load(tmp_path)
    original = zoo.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=model.num_classes)
    original.load_state_dict(subpath.original_state_dict(model))
    small = subpath.load_adapter(original.eval(), tmp_path / "adapter")
    x = torch.randn(2, 3, 32, 32)
    for skip in model.skip_configs():
        assert torch.equal(small(x, skip=skip), model(x, skip=skip))
    (weights,) = (tmp_path / "adapter").glob("*.safetensors")
    assert not [key for key in read_weights(weights) if key in original.state_dict()]


def test_a_resumed_run_ends_as_one_that_was_not_stopped(frozen, tmp_path):
    finetune(check_recipe(frozen), tmp_path / "whole")
    with pytest.raises(Stop):
        finetune(check_recipe(frozen), tmp_path / "cut", callback=Stopping())
    finetune(check_recipe(frozen), tmp_path / "cut", resume=True)
    whole, cut = (subpath.load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_network_that_nobody_trained_is_not_frozen(frozen, tmp_path):
    del frozen["train"]
    with pytest.raises(RecipeError, match="train section"):
        check_recipe(frozen)
    other = zoo.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=77)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    frozen["model"]["weights"] = str(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"fc\.weight"):
        finetune(check_recipe(frozen), tmp_path / "run")


def test_an_original_cannot_be_frozen_while_it_is_trained(frozen):
    frozen["train"]["original"] = "frozen"
    with pytest.raises(RecipeError, match="finetune alone"):
        check_recipe(frozen)
