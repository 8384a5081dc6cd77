"""Patches: linear maps at the ends of skipped stages, in both ways of running."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import subpath
from subpath.errors import PlanError, SubpathError
from subpath.measure import count_macs, parts_of
from toys import PostActivation, randomise

WIDTH = 6


class Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.mix(self.norm(x)).tanh()


def pictures(in_place: bool = False) -> tuple[Any, torch.Tensor]:
    """Two stages of three blocks whose sums are rectified, with a strided layer between them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["a"] = nn.Sequential(*(PostActivation(WIDTH, WIDTH) for _ in range(3)))
    layers["down"] = nn.Sequential(nn.Conv2d(WIDTH, 8, 3, 2, 1), nn.ReLU())
    layers["b"] = nn.Sequential(*(PostActivation(8, 8) for _ in range(3)))
    net = randomise(nn.Sequential(nn.Conv2d(3, WIDTH, 1), nn.ReLU(), nn.Sequential(layers)))
    x = torch.randn(2, 3, 8, 8)
    return subpath.convert(net.eval(), x, run="in place" if in_place else None), x


def tokens(in_place: bool = False) -> tuple[Any, torch.Tensor]:
    """Four blocks over tokens: two stages."""
    net = randomise(nn.Sequential(*(Token() for _ in range(4)))).eval()
    x = torch.randn(2, 5, WIDTH)
    return subpath.convert(net, x, run="in place" if in_place else None), x


MADE = [(pictures, False), (tokens, False), (pictures, True), (tokens, True)]


@pytest.fixture(params=MADE, ids=lambda p: f"{p[0].__name__} {'in place' if p[1] else 'graph'}")
def made(request):
    build, in_place = request.param
    model, x = build(in_place)
    assert (model.plan.run == "in place") == in_place
    return model, x


def filled(model: Any, rank: int | None = None) -> None:
    model.set_patches(replace(patch, rank=rank) for patch in model.possible_patches())
    with torch.no_grad():
        for name, parameter in model.skip_aware_parameters():
            if name.startswith("patches."):
                parameter.normal_(std=0.3)


def test_fresh_patches_change_nothing(made):
    model, x = made
    before = {skip: model(x, skip=skip) for skip in model.skip_configs()}
    model.set_patches(model.possible_patches())
    assert {patch.stage for patch in model.plan.patches} == set(range(len(model.stages)))
    for skip, output in before.items():
        assert torch.equal(model(x, skip=skip), output), skip
    model.set_patches(())
    assert not [key for key in model.state_dict() if key.startswith("patches.")]


@pytest.mark.parametrize("rank", [None, 2])
def test_a_skipped_stage_ends_in_its_patch_and_no_other_does(made, rank):
    """By hand: what a stage without patch gives, mapped, and run through the rest."""
    model, x = made
    bare = copy.deepcopy(model)
    filled(model, rank)
    whole = "F" * len(model.stages)
    assert torch.equal(model(x), bare(x))
    for skip in model.skip_configs()[1:]:
        first = skip.index("T")
        got = model.at_patches(x, skip=skip)
        kept = bare.forward_features_of_stages(x, skip=skip)[1][first]
        # Before the last activation, h is the rectified value itself.
        module = model.get_submodule(f"patches.{first}.0")
        torch.testing.assert_close(got[first], kept + module(kept), msg=skip)
        assert not torch.equal(model(x, skip=skip), bare(x, skip=skip))
    later = [model.at_patches(x, skip=whole)[n] for n in range(len(model.stages))]
    assert all(torch.isfinite(value).all() for value in later)


def test_the_sum_is_rectified_again(made):
    model, x = made
    filled(model)
    base = "T" * len(model.stages)
    values = model.at_patches(x, skip=base)
    ends = model.forward_features_of_stages(x, skip=base)[1]
    rectified = model.plan.run == "graph" and x.dim() == 4
    for value, end in zip(values, ends, strict=True):
        torch.testing.assert_close(end, value.relu() if rectified else value)


def test_sub_networks_hold_their_patches_as_torch_s_own_layers(made):
    model, x = made
    filled(model, rank=2)
    for skip in model.skip_configs():
        alone = model.subnet(skip)
        assert torch.equal(alone(x), model(x, skip=skip)), skip
        held = [m for name, m in alone.named_modules() if "patch" in name.split(".")[-1:]]
        numbers = sum(p.numel() for p in alone.parameters())
        assert numbers == count_macs(model, x, skips=[skip])[skip].params
        assert all(type(m).__module__.startswith("torch.nn") for m in held)


@pytest.mark.parametrize("rank", [None, 2])
def test_multiply_adds_of_a_patch_are_those_of_its_formula(made, rank):
    model, x = made
    bare = count_macs(model, x)
    shares = {skip: model.share_of_work(skip) for skip in model.skip_configs()}
    saved = [part.skippable for part in parts_of(model, x).parts if part.stage is not None]
    filled(model, rank)
    counted = count_macs(model, x)
    costs = []
    for stage in model.stages:
        channels = stage.output_shape[stage.channel_dim - 1]
        places = torch.Size(stage.output_shape).numel() // channels
        costs.append(places * channels * (channels if rank is None else 2 * rank))
    first = "T" + "F" * (len(costs) - 1)
    for skip in model.skip_configs():
        added = sum(cost for cost, letter in zip(costs, skip, strict=True) if letter == "T")
        assert counted[skip].macs == bare[skip].macs + added, skip
        # Its whole leaves out the norms' scales, but the patches are the same share of it.
        more = model.share_of_work(skip) - shares[skip]
        only_first = model.share_of_work(first) - shares[first]
        assert more == pytest.approx(only_first * added / costs[0])
    parts = [part.skippable for part in parts_of(model, x).parts if part.stage is not None]
    assert parts == [before - cost for before, cost in zip(saved, costs, strict=True)]


def test_gradients_reach_the_patches_of_skipped_stages_alone(made):
    model, x = made
    filled(model, rank=2)
    model(x, skip="T" + "F" * (len(model.stages) - 1)).square().sum().backward()
    got = {n for n, p in model.named_parameters() if p.grad is not None and "patches." in n}
    assert got == {n for n, _ in model.named_parameters() if n.startswith("patches.0.")}


def test_a_plan_with_patches_cuts_again_in_the_same_way(made):
    model, x = made
    filled(model, rank=2)
    again = copy.deepcopy(model)
    assert all(torch.equal(model(x, skip=s), again(x, skip=s)) for s in model.skip_configs())
    plan = subpath.Plan.from_json(model.plan.to_json())
    assert plan == model.plan


def test_a_patch_that_has_no_place_is_refused(made):
    model, _ = made
    patch = model.possible_patches()[0]
    for wrong in (replace(patch, channels=99), replace(patch, number=3), replace(patch, dims=5)):
        with pytest.raises(PlanError, match="expected one"):
            model.set_patches([wrong])
    assert model.plan.patches == ()


def test_half_precision_and_train_mode(made):
    model, x = made
    filled(model, rank=2)
    model.train().to(torch.bfloat16)
    output = model(x.to(torch.bfloat16), skip="T" * len(model.stages))
    assert output.dtype == torch.bfloat16


def test_streams_have_a_patch_each():
    import timm

    net = timm.create_model("hrnet_w18_small")
    model = subpath.convert(net)
    streams = [sum(p.stage == n for p in model.possible_patches()) for n in range(3)]
    assert streams == [2, 3, 4]  # its branches of 16, 32, 64 and 128 channels


def test_frozen_originals_stay_as_they_are(made):
    model, x = made
    filled(model, rank=2)
    before = {k: v.clone() for k, v in subpath.original_state_dict(model).items()}
    output = model(x).clone()
    model.freeze_original()
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = subpath.distill.two_pass_step(
        model,
        x,
        torch.zeros(2),
        lambda y, t: y.flatten(1).mean(1).sub(t).square().mean(),
        outputs=subpath.distill.Outputs({"": subpath.distill.Values()}),
    )
    assert losses.total == 0.5 * (losses.logits + losses.features)
    learned = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learned == {n for n, _ in model.skip_aware_parameters()}
    optimiser.step()
    model.eval()
    assert torch.equal(model(x), output)
    after = subpath.original_state_dict(model)
    assert all(torch.equal(before[key], after[key]) for key in before)
    model.freeze_original(False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.original_frozen


def test_frozen_train_mode_touches_twins_alone():
    model, _ = pictures()
    model.train()
    model.freeze_original()
    training = {name for name, m in model.named_modules() if m.training and name}
    assert training
    assert all(name.split(".")[0] in ("twin_norms", "patches") for name in training)
    assert not copy.deepcopy(model).training
    assert copy.deepcopy(model).original_frozen


def test_an_error_of_fit_comes_before_anything_is_changed():
    model, x = pictures()
    for arguments in ({"max_cost": 0}, {"ridge": -1}, {"rank": 0}):
        with pytest.raises(SubpathError, match="expected"):
            subpath.fit(model, [x], **arguments)
    with pytest.raises(SubpathError, match="iterator"):
        subpath.fit(model, iter([x]))
    with pytest.raises(SubpathError, match="no batch"):
        subpath.fit(model, [])
    assert model.plan.patches == ()
