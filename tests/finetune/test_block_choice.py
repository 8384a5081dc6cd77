"""``skippable: auto``: the blocks that hurt least, chosen by the trained network itself."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

import subpath
from stopping import Stop, Stopping
from subpath.errors import RecipeError
from subpath.finetune import check_recipe, diagnose, finetune
from subpath.finetune.recipe import Recipe


@pytest.fixture
def automatic(recipe) -> dict:
    recipe["model"]["arguments"]["layers"] = [3, 3, 2, 2]
    return {**recipe, "convert": {"skippable": "auto", "max_macs": 0.96}}


def test_they_are_those_that_a_diagnosis_of_the_trained_original_names(automatic, tmp_path):
    automatic["finetune"] |= {"epochs": 1, "original": "frozen"}  # so the run's weights tell them
    finetune(check_recipe(automatic), tmp_path)
    model = subpath.load(tmp_path)
    chosen = json.loads((tmp_path / "blocks.json").read_text())
    assert sorted(chosen) == sorted(block for stage in model.stages for block in stage.skippable)
    assert model.share_of_work("T" * len(model.stages)) <= 0.96
    weights = tmp_path / "trained.safetensors"
    save_file(subpath.original_state_dict(model), weights)
    automatic["model"]["weights"] = str(weights)
    assert diagnose(check_recipe(automatic), 500).least_hurt(0.96) == chosen


def test_a_resumed_run_keeps_what_was_chosen(automatic, tmp_path, monkeypatch):
    finetune(check_recipe(automatic), tmp_path / "whole")
    with pytest.raises(Stop):
        finetune(check_recipe(automatic), tmp_path / "cut", callback=Stopping())
    monkeypatch.delattr("subpath.finetune.block_choice.sensitivity_of")  # not measured again
    finetune(check_recipe(automatic), tmp_path / "cut", resume=True)
    whole, cut = (subpath.load(tmp_path / name) for name in ("whole", "cut"))
    assert whole.plan == cut.plan
    one, two = whole.state_dict(), cut.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_budget_out_of_reach_is_refused_before_training(automatic, tmp_path):
    automatic["convert"]["max_macs"] = 0.01
    with pytest.raises(RecipeError, match=r"max_macs: 0.01; expected at least"):
        finetune(check_recipe(automatic), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("convert", [{"skippable": "auto"}, {"max_macs": 0.5}, {"skippable": "x"}])
def test_half_a_wish_is_refused(recipe, convert):
    with pytest.raises(RecipeError, match="expected"):
        check_recipe({**recipe, "convert": convert})


def test_all_is_a_number_of_blocks_too(recipe):
    checked = check_recipe({**recipe, "convert": {"skippable": "all"}})
    assert isinstance(checked, Recipe)
