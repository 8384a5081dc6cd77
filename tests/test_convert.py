"""Arguments, switching and refusals of a conversion, on small networks."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves

import subpath
import toys
from families import Network
from subpath.adaptive.graph_model import GraphModel
from subpath.adaptive.model import AdaptiveModel
from subpath.errors import (
    ConversionError,
    LostBehaviourError,
    MisreadError,
    ModelError,
    NoResidualError,
    PlanError,
    SkipConfigError,
    SubpathError,
    TraceError,
)
from subpath.planning import Plan
from toys import TOYS, PostActivation, conv

RESNET = Network("resnet18", (2, 2, 2, 2))
VIT = Network("vit_tiny_patch16_224", (3, 3, 3, 3), arguments={"img_size": 64})


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return RESNET.images()


@pytest.fixture
def adaptive() -> AdaptiveModel:
    return subpath.convert(RESNET.build())


@pytest.mark.parametrize(("groups", "depths"), [(1, [12]), (2, [6, 6]), (5, [3, 3, 2, 2, 2])])
def test_groups_cut_an_isotropic_network(groups: int, depths: list[int]) -> None:
    plan = subpath.plan(VIT.build(), groups=groups)
    assert [len(stage.blocks) for stage in plan.stages] == depths


@pytest.mark.parametrize(
    ("skippable", "counts"),
    [(1, [1, 1, 1, 1]), (0.5, [1, 2, 3, 1]), (0.34, [1, 1, 2, 1]), ([0, 1, 5, 2], [1, 5, 2])],
)
def test_skippable_says_how_many_blocks(skippable: float, counts: list[int]) -> None:
    with torch.device("meta"):
        plan = subpath.plan(timm.create_model("resnet50"), skippable=skippable)
    assert [len(stage.skippable) for stage in plan.stages] == counts


def test_blocks_names_the_exact_blocks() -> None:
    model = subpath.convert(RESNET.build(), blocks=["layer1.0", "layer3.1"])
    assert [stage.skippable for stage in model.stages] == [("layer1.0",), ("layer3.1",)]


def test_twin_norms_can_be_left_out_or_be_everywhere() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet50")
        none = subpath.plan(model, twin_norms="none")
        every = subpath.plan(model, twin_norms="all")
    assert none.twin_norms == ()
    # 53 norms in ResNet-50; each of the 7 skippable blocks keeps its 3 to itself.
    assert len(every.twin_norms) == 53 - 7 * 3


def test_a_plan_cuts_another_copy_the_same_way(images: torch.Tensor) -> None:
    first = subpath.convert(RESNET.build(), skippable=[1, 0, 1, 0], twin_norms="none")
    again = subpath.convert(RESNET.build(), plan=Plan.from_json(first.plan.to_json()))
    assert again.plan == first.plan
    with torch.no_grad():
        for config in first.skip_configs():
            assert torch.equal(first(images, skip=config), again(images, skip=config))


def test_a_copy_is_in_train_mode_too() -> None:
    """Of a network that was converted in train mode, and so run in eval mode once."""
    model = subpath.convert(RESNET.build().train())
    copied = copy.deepcopy(model)
    assert model.training
    assert copied.training
    assert all(module.training for module in copied.modules())
    x = RESNET.images()
    assert torch.equal(model(x), copied(x))


def test_three_ways_to_choose_a_config(adaptive: AdaptiveModel, images: torch.Tensor) -> None:
    with torch.no_grad():
        whole, base = adaptive(images, skip="FFFF"), adaptive(images, skip="TTTT")
        assert not torch.equal(whole, base)
        assert torch.equal(adaptive(images), whole)
        with adaptive.using("TTTT"):
            assert torch.equal(adaptive(images), base)
            assert torch.equal(adaptive(images, skip="FFFF"), whole)
        assert torch.equal(adaptive(images), whole)
        adaptive.skip = "TTTT"
        assert torch.equal(adaptive(images), base)
        with adaptive.using("FFFF"):
            assert torch.equal(adaptive(images), whole)


def test_using_restores_after_an_error(adaptive: AdaptiveModel) -> None:
    with pytest.raises(RuntimeError, match="inside"), adaptive.using("TTTT"):
        raise RuntimeError("inside")
    assert adaptive.skip == "FFFF"


def test_using_is_not_seen_by_other_threads(adaptive: AdaptiveModel) -> None:
    seen: list[str] = []
    with adaptive.using("TTTT"):
        thread = threading.Thread(target=lambda: seen.append(adaptive.skip))
        thread.start()
        thread.join()
    assert seen == ["FFFF"]


def test_repr_shows_that_a_switch_took_effect(adaptive: AdaptiveModel) -> None:
    assert "skip='FFFF': 100.0% of the MACs" in repr(adaptive)
    adaptive.skip = "TFFF"
    assert "T  layer1: skips 1 of 2 blocks" in repr(adaptive)
    assert "100.0%" not in repr(adaptive)


@pytest.mark.parametrize("wrong", ["TT", "TTTTT", "TFFX", "tfff", "", 3, True, ["T"]])
def test_wrong_configs_are_refused(adaptive: AdaptiveModel, wrong: str) -> None:
    with pytest.raises(SkipConfigError, match="expected"):
        adaptive(RESNET.images(), skip=wrong)
    with pytest.raises(SkipConfigError, match="expected"):
        adaptive.skip = wrong
    with pytest.raises(SkipConfigError, match="expected"):
        adaptive.subnet(wrong)


def test_weights_can_be_replaced_in_any_way(adaptive: AdaptiveModel, images: torch.Tensor) -> None:
    adaptive(images, skip="TTTT")  # compiled before the weights change
    other = subpath.convert(timm.create_model("resnet18").eval())
    adaptive.load_state_dict(other.state_dict(), assign=True)
    with torch.no_grad():
        for config in ("FFFF", "TTTT"):
            assert torch.equal(adaptive(images, skip=config), other(images, skip=config))
    adaptive.fc = nn.Linear(512, 7)
    assert adaptive(images, skip="TFTF").shape == (2, 7)
    adaptive.reset_classifier(5)
    assert adaptive(images).shape == (2, 5)
    assert adaptive.num_classes == 5


def test_a_deep_copy_shares_nothing(adaptive: AdaptiveModel, images: torch.Tensor) -> None:
    adaptive.skip = "TTTT"
    copied = copy.deepcopy(adaptive)
    with torch.no_grad():
        before = adaptive(images)
        assert torch.equal(copied(images), before)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(adaptive(images), before)


def test_a_subnet_is_an_ordinary_module(adaptive: AdaptiveModel, images: torch.Tensor) -> None:
    original = RESNET.build()
    subnet = adaptive.subnet("TTTT")
    assert subnet.state_dict().keys() < original.state_dict().keys()
    shared, whole = set(subnet.parameters()), set(adaptive.parameters())
    assert shared < whole
    assert "subpath" not in subnet.code
    own = adaptive.subnet("TTTT", copy_weights=True)
    with torch.no_grad():
        assert torch.equal(subnet(images), adaptive(images, skip="TTTT"))
        for parameter in own.parameters():
            parameter.zero_()
        assert torch.equal(subnet(images), adaptive(images, skip="TTTT"))
    batch = subnet(images[:1])
    assert batch.shape == (1, 1000)


def test_train_and_eval_mode_reach_every_part(adaptive: AdaptiveModel) -> None:
    assert not any(module.training for module in adaptive.modules())
    adaptive.train()
    assert all(module.training for module in adaptive.modules())
    adaptive.eval()
    assert not any(module.training for module in adaptive.modules())


def test_frozen_norms_stay_frozen(images: torch.Tensor) -> None:
    model = RESNET.build().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    adaptive = subpath.convert(model)
    with torch.no_grad():
        assert torch.equal(adaptive(images), model(images))


@pytest.mark.parametrize("name", ["densenet121", "vgg11"])
def test_networks_without_identity_shortcuts_are_refused(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(NoResidualError, match=r"0 additions \(0 onto an identity shortcut\)"):
        subpath.convert(model)


def test_concatenations_are_named_as_the_reason() -> None:
    with torch.device("meta"):
        model = timm.create_model("densenet121")
    # 58 dense layers (6 + 12 + 24 + 16) that concatenate all before them, and one cat a block.
    with pytest.raises(NoResidualError, match="62 concatenations"):
        subpath.convert(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": 4},
        {"skippable": 2},
        {"skippable": 1.0},
        {"skippable": -1},
        {"skippable": 0},
        {"skippable": [1, 1]},
        {"blocks": ["layer1.7"]},
        {"blocks": ["layer2.0"]},
        {"blocks": []},
        {"blocks": ["layer1.0", "layer1.1"]},
        {"blocks": ["layer1.1"], "skippable": 1},
        {"twin_norms": "some"},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, object]) -> None:
    model = RESNET.build()
    with pytest.raises(PlanError, match="expected"):
        subpath.convert(model, **arguments)  # type: ignore[arg-type]


def test_a_plan_for_another_network_is_refused() -> None:
    plan = subpath.plan(RESNET.build())
    with pytest.raises(PlanError, match="another network"):
        subpath.convert(VIT.build(), plan=plan)
    with pytest.raises(PlanError, match="plan alone"):
        subpath.convert(RESNET.build(), plan=plan, groups=2)


def test_a_plan_whose_stages_are_idle_or_in_another_order_is_refused() -> None:
    plan = subpath.plan(RESNET.build())
    first, *others = plan.stages
    idle = replace(plan, stages=(replace(first, skippable=()), *others))
    with pytest.raises(PlanError, match="skips nothing in layer1; expected"):
        subpath.convert(RESNET.build(), plan=idle)
    turned = replace(plan, stages=plan.stages[::-1])
    with pytest.raises(PlanError, match="order in which this network runs them: layer1, layer2"):
        subpath.convert(RESNET.build(), plan=turned)


def test_hooks_that_a_graph_would_lose_are_refused_there_and_kept_in_place(
    images: torch.Tensor,
) -> None:
    model, calls = RESNET.build(), []
    handle = model.layer1[1].register_forward_hook(lambda *_: calls.append("block"))
    with pytest.raises(LostBehaviourError, match=r"layer1\.1"):
        subpath.convert(model, run="graph")
    adaptive = subpath.convert(model)
    assert adaptive.plan.run == "in place"
    assert "would lose hooks" in adaptive.plan.why
    assert calls == []  # neither reading nor the check are calls of the user's
    adaptive(images, skip="TFFF")
    assert calls == ["block"]
    handle.remove()
    model.register_forward_pre_hook(lambda *_: calls.append("network"))
    with pytest.raises(LostBehaviourError, match="itself"):
        subpath.convert(model, run="graph")
    subpath.convert(model)(images)
    assert calls == ["block", "network"]


def test_hooks_of_modules_that_are_called_whole_still_run(images: torch.Tensor) -> None:
    model, calls = RESNET.build(), []
    model.layer1[1].conv1.register_forward_hook(lambda *_: calls.append("conv1"))
    adaptive = subpath.convert(model)
    adaptive(images)
    assert calls == ["conv1"]
    adaptive(images, skip="TFFF")  # the hooked convolution is in the skippable sub-path
    assert calls == ["conv1"]


def test_parametrisations_are_kept_or_refused(images: torch.Tensor) -> None:
    model = RESNET.build()
    parametrizations.spectral_norm(model.layer1[1].conv1)
    model.eval()
    adaptive = subpath.convert(model)  # on a leaf: kept
    with torch.no_grad():
        assert torch.equal(adaptive(images), model(images))
    opened = nn.Sequential(conv(3, 8), _Gained(8), _Gained(8))
    nn.utils.parametrize.register_parametrization(opened[2], "gain", nn.Identity())
    with pytest.raises(LostBehaviourError, match="parametrisations on 2"):
        subpath.convert(opened, torch.zeros(2, 3, 8, 8), run="graph")
    assert subpath.convert(opened, torch.zeros(2, 3, 8, 8)).plan.run == "in place"


def test_models_that_cannot_be_converted_say_why() -> None:
    with pytest.raises(ModelError, match="example_input"):
        subpath.convert(nn.Sequential(conv(3, 8), PostActivation(8, 8), PostActivation(8, 8)))
    with pytest.raises(ConversionError, match="already converted"):
        subpath.convert(subpath.convert(RESNET.build()))
    with pytest.raises(TraceError, match="cannot trace"):
        subpath.convert(_Choosy(), torch.zeros(2, 3, 8, 8), run="graph")
    with pytest.raises(TraceError, match="does not run"):
        subpath.convert(RESNET.build(), torch.zeros(2, 5, 64, 64))


def test_inputs_by_name_and_pickles(adaptive: AdaptiveModel, images: torch.Tensor) -> None:
    import pickle

    with torch.no_grad():
        assert torch.equal(adaptive(x=images), adaptive(images))
    with pytest.raises(SubpathError, match="by name"):
        adaptive(images, mask=None)
    with pytest.raises(SubpathError, match="pickle"):
        pickle.dumps(adaptive)


def test_a_block_that_train_mode_hides_is_named_with_the_reason() -> None:
    model = nn.Sequential(conv(3, 8), _RandomDepth(8), _RandomDepth(8))
    with pytest.raises(PlanError, match=r"skips 2; .* could not be looked into \(2: "):
        subpath.convert(model, torch.zeros(2, 3, 8, 8), run="graph")
    assert subpath.convert(model, torch.zeros(2, 3, 8, 8)).plan.run == "in place"


class _RandomDepth(nn.Module):
    """A residual block with control flow on values in train mode alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.inner(x)
        if self.training and branch.mean() > 0:
            return x
        return x + branch


class _Gained(nn.Module):
    """A residual block that reads a parameter of its own in its forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = conv(width, width)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x) * self.gain


class _Choosy(nn.Module):
    """A forward with control flow on values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class _InPlaceAfterStage(nn.Module):
    """A network whose stage output is changed in place by the layer that takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(conv(3, 4), _Gained(4), _Gained(4))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.stage(x)).mean((2, 3))


def test_stage_outputs_are_what_the_stage_made() -> None:
    model, images = _InPlaceAfterStage().eval(), torch.randn(2, 3, 8, 8)
    adaptive = subpath.convert(model, images)
    with torch.no_grad():
        output, (whole,) = adaptive.forward_features_of_stages(images, skip="F")
        assert torch.equal(output, model(images))
        assert torch.equal(whole, model.stage(images))
        output, (skipped,) = adaptive.forward_features_of_stages(images, skip="T")
        assert torch.equal(skipped, model.stage[1](model.stage[0](images)))
        assert torch.equal(output, adaptive(images, skip="T"))
    assert whole.min() < 0


def test_a_network_that_decides_by_sizes_takes_other_sizes() -> None:
    model = TOYS["padded"].build()
    adaptive = subpath.convert(model, torch.zeros(2, 3, 8, 8))
    for batch, size in ((2, 8), (3, 8), (1, 16), (2, 22)):
        x = torch.randn(batch, 3, size, size)
        assert torch.equal(adaptive(x), model(x))
        base_net = adaptive.subnet("TT", example_input=x)
        assert torch.equal(base_net(x), adaptive(x, skip="TT"))
        assert torch.equal(base_net(x[:1]), adaptive(x[:1], skip="TT"))
    adaptive.train(), model.train()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(adaptive(x), model(x))


def test_a_sub_network_that_decides_by_sizes_refuses_other_sizes() -> None:
    adaptive = subpath.convert(TOYS["padded"].build(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(AssertionError, match=r"shape \[2, 3, 8, 8\].*example_input"):
        adaptive.subnet("TF")(torch.zeros(2, 3, 16, 16))


def _naflexvit() -> nn.Module:
    return timm.create_model("naflexvit_base_patch16_gap", embed_dim=32, num_heads=2, depth=4)


def _patches() -> dict[str, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    places = torch.stack([rows, columns], -1).reshape(1, 16, 2).expand(2, -1, -1)
    valid = torch.ones(2, 16, dtype=torch.bool)
    return {"patches": torch.randn(2, 16, 768), "patch_coord": places, "patch_valid": valid}


@pytest.mark.parametrize(
    ("make", "inputs", "depths"),
    [
        (lambda: timm.create_model("resnet18", features_only=True), (), [2, 2, 2, 2]),
        (lambda: timm.create_model("resnet18", num_classes=0), (), [2, 2, 2, 2]),
        (_naflexvit, (), [2, 2]),
        (_naflexvit, tuple(_patches().values()), [2, 2]),
        (_naflexvit, (_patches(),), [2, 2]),
        (
            lambda: timm.create_model("hiera_tiny_224", img_size=64, embed_dim=32),
            (torch.randn(2, 3, 64, 64), torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0]]).bool()),
            [2, 7, 2],
        ),
    ],
    ids=["features", "no classifier", "image", "patches", "dict of patches", "image and mask"],
)
def test_other_inputs_and_outputs(
    make: Callable[[], nn.Module], inputs: tuple[object, ...], depths: list[int]
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    inputs = inputs or (torch.randn(2, 3, 64, 64),)
    adaptive = subpath.convert(model, inputs)
    assert [len(stage.blocks) for stage in adaptive.stages] == depths
    with torch.no_grad():
        expected, got = tree_leaves(model(*inputs)), tree_leaves(adaptive(*inputs))
        skipped = tree_leaves(adaptive(*inputs, skip="T" * len(depths)))
    assert all(torch.equal(one, two) for one, two in zip(expected, got, strict=True))
    assert [x.shape for x in skipped] == [x.shape for x in expected]


@pytest.mark.parametrize("name", ["fastvit_t8", "repvit_m0_9", "repghostnet_050"])
def test_before_and_after_reparameterisation(name: str) -> None:
    torch.manual_seed(0)
    model, images = timm.create_model(name).eval(), torch.randn(2, 3, 64, 64)
    merged = reparameterize_model(model)
    before, after = subpath.convert(model, images), subpath.convert(merged, images)
    assert [s.skippable for s in before.stages] == [s.skippable for s in after.stages]
    with torch.no_grad():
        for one, two in ((before, model), (after, merged)):
            assert torch.equal(one(images), two(images))
        if name != "repvit_m0_9":  # its token mixer's shortcut is merged into a convolution
            one, two = (m(images, skip="T" * len(m.stages)) for m in (before, after))
            assert torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "before"), [("repvgg_a0", "through a norm"), ("mobileone_s0", "through a norm")]
)
def test_networks_that_reparameterise_to_one_path_are_refused(name: str, before: str) -> None:
    model, images = timm.create_model(name).eval(), torch.zeros(2, 3, 64, 64)
    with pytest.raises(NoResidualError, match=before):
        subpath.convert(model, images)
    with pytest.raises(NoResidualError, match="one path without branches"):
        subpath.convert(reparameterize_model(model), images)


def test_parallel_rows_are_skipped_together() -> None:
    torch.manual_seed(0)
    model, images = toys.Parallel(2, 4).eval(), torch.randn(2, 3, 8, 8)
    adaptive = subpath.convert(model, images)
    first, second = adaptive.stages
    assert first.skippable == tuple(f"mixes.0.branches.{b}.{i}" for b in (0, 1) for i in (2, 3))
    assert len(second.skippable) == 4
    for config in adaptive.skip_configs():
        skipped = [
            block
            for letter, stage in zip(config, adaptive.stages, strict=True)
            for block in stage.skippable
            if letter == "T"
        ]
        by_hand = toys.taken_out(model, skipped)
        assert torch.equal(adaptive(images, skip=config), by_hand(images))
    one_each = subpath.plan(model, images, skippable=1)
    assert [len(stage.skippable) for stage in one_each.stages] == [2, 2]


def test_sub_networks_take_example_inputs_by_name(
    adaptive: AdaptiveModel, images: torch.Tensor
) -> None:
    base = adaptive.skip_configs()[-1]
    by_name = adaptive.subnet(base, example_input={"x": images})
    with torch.no_grad():
        assert torch.equal(by_name(images), adaptive(images, skip=base))


def test_a_graph_that_gives_something_else_is_not_handed_out(
    monkeypatch: pytest.MonkeyPatch, images: torch.Tensor
) -> None:
    model, forward = RESNET.build(), GraphModel.forward
    monkeypatch.setattr(GraphModel, "forward", lambda self, x: forward(self, x) + 1e-3)
    with pytest.raises(MisreadError, match="numbers differ"):
        subpath.convert(model, run="graph")
    subpath.convert(model, run="graph", check=False)
    adaptive = subpath.convert(model)
    assert adaptive.plan.run == "in place"
    assert adaptive.plan.why.startswith("its graph gives another output")
    with torch.no_grad():
        assert torch.equal(adaptive(images), model(images))
