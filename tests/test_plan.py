"""Plans: the rule that cuts a stage, which norms get twins, and the plan as data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import subpath
import toys
from strategies import expected_skippable, networks
from subpath.errors import NoResidualError, PlanError
from subpath.planning import Opaque, Plan, StagePlan, TwinNorm
from toys import TOYS, Toy, row, two_stages

POST, TOKENS = TOYS["post-activation"], TOYS["transformer"]


def plan_of(toy: Toy, **arguments: Any) -> Plan:
    return subpath.plan(toy.build(), toy.input(), **arguments)


def skippable(plan: Plan) -> list[tuple[str, ...]]:
    return [stage.skippable for stage in plan.stages]


# --- which blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", range(2, 8))
def test_the_first_half_rounded_up_is_mandatory(depth: int) -> None:
    model = two_stages(toys.PreActivation, (depth, 2))
    stage, _ = subpath.plan(model, torch.zeros(2, 3, 8, 8)).stages
    assert len(stage.mandatory) == math.ceil(depth / 2)
    assert stage.mandatory + stage.skippable == stage.blocks == row("layer1", depth).blocks


def test_a_network_with_a_second_stage_of_one_projecting_block_is_not_isotropic() -> None:
    model = two_stages(toys.PreActivation, (4, 1))
    (stage,) = subpath.plan(model, torch.zeros(2, 3, 8, 8)).stages
    assert stage.blocks == row("layer1", 4).blocks


@given(networks())
@settings(max_examples=10)
def test_the_rule_on_random_networks(toy: Toy) -> None:
    cut = [known for known in toy.stages if len(known.blocks) > 1]
    plan = plan_of(toy)
    assert [stage.blocks for stage in plan.stages] == [known.blocks for known in cut]
    assert skippable(plan) == [expected_skippable(known) for known in cut]


def test_drop_path_in_one_of_two_blocks_does_not_part_them() -> None:
    """The rate rises with depth, so the first block of a network has no drop-path."""
    with torch.device("meta"):
        plain = timm.create_model("resnet18")
        dropping = timm.create_model("resnet18", drop_path_rate=0.2)
    assert subpath.plan(dropping).stages == subpath.plan(plain).stages


def test_the_model_may_be_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = two_stages(toys.PostActivation, (2, 3))
    assert subpath.plan(model, torch.zeros(2, 3, 8, 8, device="meta")) == plan_of(POST)


@pytest.mark.parametrize(
    ("groups", "sizes"),
    [(1, [6]), (2, [3, 3]), (3, [2, 2, 2]), (4, [2, 2, 1, 1]), (None, [2, 2, 2])],
)
def test_groups_of_an_isotropic_network(groups: int | None, sizes: list[int]) -> None:
    plan = plan_of(TOKENS, groups=groups)
    blocks, cut = list(TOKENS.stages[0].blocks), []
    for size in sizes:
        cut.append(tuple(blocks[:size]))
        blocks = blocks[size:]
    assert [stage.blocks for stage in plan.stages] == [part for part in cut if len(part) > 1]


def test_twelve_blocks_make_four_stages_of_three_with_one_to_skip() -> None:
    plan = subpath.plan(toys.Tokens(12), torch.zeros(2, 3, 8, 8))  # as the paper's ViT-B/16
    assert [len(stage.blocks) for stage in plan.stages] == [3, 3, 3, 3]
    assert skippable(plan) == [(f"blocks.{i}",) for i in (2, 5, 8, 11)]


@pytest.mark.parametrize(
    ("share", "counts"),
    [(1, [1, 1]), (0.5, [1, 1]), (0.34, [0, 1]), ([0, 2], [0, 2]), ([1, 0.4], [1, 1])],
)
def test_how_many_to_skip(share: Any, counts: list[int]) -> None:
    plan = plan_of(POST, skippable=share)
    assert skippable(plan) == [
        known.blocks[len(known.blocks) - count :]
        for known, count in zip(POST.stages, counts, strict=True)
        if count
    ]


def test_exact_blocks() -> None:
    plan = plan_of(POST, blocks=["layer2.1", "layer1.0"])
    assert skippable(plan) == [("layer1.0",), ("layer2.1",)]
    assert [stage.mandatory for stage in plan.stages] == [("layer1.1",), ("layer2.0", "layer2.2")]


@pytest.mark.parametrize(
    ("toy", "arguments", "words"),
    [
        (POST, {"groups": 2}, ["groups=2", "2 stages", "skippable"]),
        (TOKENS, {"groups": 0}, ["groups=0", "1 to 6"]),
        (TOKENS, {"groups": 7}, ["groups=7", "1 to 6"]),
        (POST, {"skippable": [1]}, ["1 entries", "layer1: 2", "layer2: 3"]),
        (POST, {"skippable": -1}, ["-1", "layer1"]),
        (POST, {"skippable": 2}, ["2", "layer1", "0 to 1"]),
        (POST, {"skippable": 1.0}, ["1.0", "below 1.0"]),
        (POST, {"skippable": True}, ["True"]),
        (POST, {"skippable": ["1", 1]}, ["'1'"]),
        (POST, {"skippable": "ab"}, ["'a'"]),
        (POST, {"blocks": []}, ["blocks=[]", "layer1.0"]),
        (POST, {"blocks": ["layer2.0"]}, ["layer2.0", "identity shortcut", "layer2.1"]),
        (POST, {"blocks": ["layer9.0"]}, ["layer9.0", "layer1.0"]),
        (POST, {"blocks": ["layer1.0", "layer1.1"]}, ["layer1", "mandatory"]),
        (POST, {"blocks": ["layer1.1"], "skippable": 1}, ["skippable", "blocks"]),
        (POST, {"twin_norms": "some"}, ["'some'", "'mandatory'", "'all'", "'none'"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_arguments_that_do_not_fit(toy: Toy, arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(toy, **arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (toys.Dense, ["0 additions", "4 concatenations", "only concatenated"]),
        (toys.plain, ["0 additions", "0 concatenations", "one path"]),
        (
            lambda: two_stages(toys.PreActivation, (1, 1)),
            ["2 additions (1 onto an identity shortcut)", "1 stage with one such block each"],
        ),
        (
            lambda: two_stages(toys.Reparameterised, (2, 2)),
            ["8 additions (0 onto", "4 shortcuts through a norm"],
        ),
        (
            lambda: two_stages(toys.Widening, (2, 2)),
            ["(4 onto an identity", "no identity shortcut spans"],
        ),
        (
            lambda: two_stages(toys.Weighted, (2, 2)),
            ["4 additions (0 onto an identity", "weights on both sides"],
        ),
    ],
)
def test_nothing_to_skip(make: Callable[[], nn.Module], words: list[str]) -> None:
    with pytest.raises(NoResidualError) as caught:
        subpath.plan(make(), torch.zeros(2, 3, 8, 8))
    for word in words:
        assert word in str(caught.value)


def test_what_cannot_be_opened_is_in_the_plan_with_the_reason() -> None:
    opaque = plan_of(TOYS["choosy branch"]).opaque
    assert [item.path for item in opaque] == [
        f"{block}.choosy" for known in TOYS["choosy branch"].stages for block in known.blocks
    ]
    assert all("control flow" in item.reason for item in opaque)


# --- which norms -------------------------------------------------------------------------------


def twins(plan: Plan) -> dict[str, int]:
    found = {twin.path: twin.stage for twin in plan.twin_norms}
    assert len(found) == len(plan.twin_norms)
    return found


def test_twins_are_the_norms_of_mandatory_sub_paths_without_projections() -> None:
    found = twins(plan_of(POST))
    # layer1 keeps 1 of 2 blocks, layer2 keeps 2 of 3; neither stem, projection nor last norm
    assert found == {
        "layer1.0.bn1": 0,
        "layer1.0.bn2": 0,
        "layer2.0.bn1": 1,
        "layer2.0.bn2": 1,
        "layer2.1.bn1": 1,
        "layer2.1.bn2": 1,
    }


def test_norms_of_a_downsampling_layer_belong_to_the_stage_behind_it() -> None:
    found = twins(plan_of(TOYS["in-place sum"]))
    assert found == {"stage1.0.norm": 0, "down.0": 1, "stage2.0.norm": 1, "stage2.1.norm": 1}


def test_twins_everywhere_are_all_norms_that_are_not_skipped() -> None:
    found = twins(plan_of(POST, twin_norms="all"))
    model = POST.build()
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    gone = {n for n in norms if n.startswith(("layer1.1.", "layer2.2."))}
    assert found.keys() == norms - gone
    assert found["stem.1"] == 0
    assert found["norm"] == found["layer2.0.downsample.1"] == 1


def test_no_twins() -> None:
    assert plan_of(POST, twin_norms="none").twin_norms == ()


def test_a_norm_that_is_called_in_two_stages_has_one_twin() -> None:
    model = toys.ImageNet(8, {"again": toys.Again(4)})
    twins(subpath.plan(model, torch.zeros(2, 3, 8, 8)))


# --- the plan as data --------------------------------------------------------------------------

paths = st.from_regex(r"[a-z]{1,5}(\.[0-9a-z]{1,3}){0,3}", fullmatch=True)
stages = st.builds(
    StagePlan,
    name=paths,
    blocks=st.lists(paths, min_size=1, unique=True).map(tuple),
    skippable=st.lists(paths, unique=True).map(tuple),
    output_shape=st.lists(st.integers(1, 9), min_size=1).map(tuple),
    channel_dim=st.integers(1, 4),
)
plans = st.builds(
    Plan,
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    twin_norms=st.lists(st.builds(TwinNorm, paths, st.integers(0, 3)), max_size=3).map(tuple),
    opened=st.lists(paths, max_size=3).map(tuple),
    opaque=st.lists(st.builds(Opaque, paths, st.text()), max_size=2).map(tuple),
)


@given(plans)
def test_a_plan_round_trips_through_json(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_dict(plan.to_dict()) == plan
    assert json.loads(plan.to_json()) == plan.to_dict()


def test_a_plan_of_a_network_round_trips_too() -> None:
    plan = plan_of(TOYS["choosy branch"])
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_is_frozen_and_hashable() -> None:
    plan = plan_of(POST)
    with pytest.raises(FrozenInstanceError):
        plan.stages = ()  # type: ignore[misc]
    assert hash(plan) == hash(plan_of(POST))


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[" * 100_000,
        "[]",
        "{}",
        '{"stages": 3, "twin_norms": [], "opened": [], "opaque": []}',
        '{"stages": [{}], "twin_norms": [], "opened": [], "opaque": []}',
        '{"stages": [], "twin_norms": [], "opened": "layer1", "opaque": []}',
        '{"stages": [], "twin_norms": [{"path": "a", "stage": 1e999}], "opened": [], "opaque": []}',
        '{"stages": [], "twin_norms": [{"path": "a", "stage": "x"}], "opened": [], "opaque": []}',
    ],
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="got a plan that"):
        Plan.from_json(text)
