"""What detectors, segmentation heads and timm's training code ask of a backbone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel
from subpath.errors import ConversionError, SkipConfigError, SubpathError

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
# With what timm says of its own features: how many of the first are not a stage of ours, whether
# the pictures of forward_intermediates are made of tokens.
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"channels": [8, 8, 8, 8]},
    "swin_tiny_patch4_window7_224": {
        "img_size": 64,
        "window_size": 4,
        "embed_dim": 8,
        "depths": [2, 2, 2, 2],
    },
    "convnext_atto": {"depths": [2, 2, 2, 2], "dims": [8, 12, 16, 20]},
    "vit_tiny_patch16_224": {"img_size": 64, "embed_dim": 12, "depth": 4},
    "deit_tiny_distilled_patch16_224": {"img_size": 64, "embed_dim": 12, "depth": 4},
}


def original(name: str, **more: Any) -> Any:
    torch.manual_seed(0)
    arguments = NETWORKS.get(name, {})
    return toys.randomise(timm.create_model(name, num_classes=5, **arguments, **more)).eval()


def network(name: str, **more: Any) -> AdaptiveModel:
    return subpath.convert(original(name, **more), IMAGES)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_and_their_facts_are_those_of_timm(name: str) -> None:
    plain = original(name)
    model = subpath.convert(plain, IMAGES)
    known = {info["module"]: info for info in plain.feature_info}
    by_stage = len(known) == len(model.stages) or name == "resnet18"
    last = [info["num_chs"] for info in plain.feature_info][-len(model.stages) :]
    assert model.feature_info.channels() == last
    strides = [info["reduction"] for info in plain.feature_info][-len(model.stages) :]
    assert model.feature_info.reduction() == strides
    assert model.feature_info.module_name() == [stage.blocks[-1] for stage in model.stages]
    indices = [int(s.blocks[-1].split(".")[1]) for s in model.stages]
    wanted = len(model.stages) if by_stage and "deit" not in name and "vit" not in name else indices
    with torch.no_grad():
        expected = plain.forward_intermediates(
            IMAGES, indices=wanted, output_fmt="NCHW", intermediates_only=True
        )
        pictures = model.features(IMAGES, output_fmt="NCHW")
        for number, (got, picture) in enumerate(zip(pictures, expected, strict=True)):
            assert torch.equal(got, picture)
            assert got.shape[1] == model.feature_info.channels(number)
            assert 64 // got.shape[-1] == model.feature_info.reduction(number)
        for skip in model.skip_configs():
            _, outputs = model.forward_features_of_stages(IMAGES, skip=skip)
            features = model.features(IMAGES, skip=skip)
            assert all(torch.equal(a, b) for a, b in zip(features, outputs, strict=True))
            with model.using(skip):
                assert torch.equal(model.features(IMAGES)[-1], outputs[-1])


def test_pictures_at_another_resolution_and_what_is_none() -> None:
    model = network("resnet18")
    images = torch.zeros(1, 3, 96, 128)
    shapes = [tuple(f.shape[2:]) for f in model.features(images, output_fmt="NCHW")]
    assert shapes == [(24, 32), (12, 16), (6, 8), (3, 4)]
    with pytest.raises(SkipConfigError, match="expected"):
        model.features(images, skip="TT")
    with pytest.raises(SubpathError, match="'NHWC'; expected"):
        model.features(images, output_fmt="NHWC")  # type: ignore[arg-type]
    tokens = subpath.convert(toys.TOYS["transformer"].build(), toys.TOYS["transformer"].input())
    if None in tokens.feature_info.reduction():
        with pytest.raises(SubpathError, match="expected a feature map"):
            tokens.features(toys.TOYS["transformer"].input(), output_fmt="NCHW")


def test_what_comes_after_the_last_stage_does_not_run() -> None:
    model = network("resnet18")
    model.fc.register_forward_hook(lambda *_: pytest.fail("the head ran"))
    model.features(IMAGES, skip="TFFF")


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        ("resnet18", {"num_classes": 7}),
        ("resnet18", {"num_classes": 0, "global_pool": ""}),
        ("vit_tiny_patch16_224", {"num_classes": 7}),
        ("vit_tiny_patch16_224", {"num_classes": 3, "global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"num_classes": 0, "global_pool": ""}),
        ("deit_tiny_distilled_patch16_224", {"num_classes": 0}),
        ("swin_tiny_patch4_window7_224", {"num_classes": 7, "global_pool": "max"}),
        ("convnext_atto", {"num_classes": 0, "global_pool": "max"}),
    ],
    ids=str,
)
def test_another_classifier_is_the_originals(name: str, reset: dict[str, Any]) -> None:
    plain = original(name)
    model = subpath.convert(plain, IMAGES)
    before = model(IMAGES)
    for changed in (plain, model):
        torch.manual_seed(1)
        changed.reset_classifier(**reset)
    for training in (False, True):
        plain.train(training), model.train(training)
        torch.manual_seed(2)
        expected = plain(IMAGES)
        torch.manual_seed(2)
        assert torch.equal(model(IMAGES), expected)
    assert expected.shape != before.shape
    assert model.num_classes == plain.num_classes == reset["num_classes"]
    base_net = "T" * len(model.stages)
    assert model.eval()(IMAGES, skip=base_net).shape == expected.shape
    assert torch.equal(copy.deepcopy(model)(IMAGES, skip=base_net), model(IMAGES, skip=base_net))
    assert torch.equal(model.subnet(base_net)(IMAGES), model(IMAGES, skip=base_net))


class _Headless(toys.ImageNet):
    """A network that gives up its last norm with its classifier."""

    def reset_classifier(self, num_classes: int) -> None:
        self.fc, self.norm = nn.Linear(8, num_classes), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(self.stem(x))
        x = x if self.norm is None else self.norm(x)
        return self.fc(x.mean((2, 3)))


def test_a_classifier_that_does_not_fit_changes_nothing() -> None:
    plain = _Headless(8, {"layer": toys.stage(toys.PostActivation, 2, 8, 8)}).eval()
    model = subpath.convert(plain, IMAGES, twin_norms="all", groups=1)
    before, state = model(IMAGES), model.state_dict().keys()
    with pytest.raises(ConversionError, match="Call reset_classifier on the original"):
        model.reset_classifier(3)
    vit = network("vit_tiny_patch16_224")
    with pytest.raises(AssertionError, match="attention pooling"):  # timm's own
        vit.reset_classifier(3, global_pool="map")
    assert vit(IMAGES).shape == (2, 5)
    assert model.state_dict().keys() == state
    assert torch.equal(model(IMAGES), before)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_and_weight_decay_are_the_originals(name: str) -> None:
    plain, model = original(name), network(name)
    assert any(".twin" in f".{n}" for n, _ in model.named_parameters())
    for coarse in (False, True):
        expected = group_parameters(plain, plain.group_matcher(coarse=coarse), reverse=True)
        got = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
        for key, layer in got.items():
            assert layer == expected[key.split(".", 2)[2] if "twin" in key else key], key
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    for groups in (param_groups_layer_decay, param_groups_weight_decay):
        ours, theirs = (
            {
                id(p): (g.get("weight_decay"), g.get("lr_scale"))
                for g in groups(m, weight_decay=0.1, no_weight_decay_list=spared)
                for p in g["params"]
            }
            for m in (model, plain)
        )
        for key, parameter in model.named_parameters():
            source = plain.get_parameter(key.split(".", 2)[2] if "twin" in key else key)
            assert ours[id(parameter)] == theirs[id(source)], key
    assert model.pretrained_cfg is not None
    assert model.pretrained_cfg == plain.pretrained_cfg


def kept_for_gradients(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        output = model(x)
    return output, sum(sizes)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("before", [True, False])
def test_checkpointing_keeps_less_and_changes_nothing(name: str, before: bool) -> None:
    """Set on the original before the conversion, or on the model."""
    plain = original(name, drop_rate=0.2)
    model = subpath.convert(plain, IMAGES).train()
    if before:
        plain.set_grad_checkpointing()
        saving = subpath.convert(plain, IMAGES).train()
    else:
        saving = copy.deepcopy(model)
        saving.set_grad_checkpointing()
    saving = copy.deepcopy(saving)
    for skip in ("FFFF", "TTTT"):
        with model.using(skip), saving.using(skip):
            torch.manual_seed(0)
            expected, everything = kept_for_gradients(model, IMAGES)
            torch.manual_seed(0)
            got, kept = kept_for_gradients(saving, IMAGES)
        assert torch.equal(got, expected)
        assert kept < 0.6 * everything
        got.square().sum().backward()
        expected.square().sum().backward()
        for key, parameter in model.named_parameters():
            other = saving.get_parameter(key)
            assert (other.grad is None) == (parameter.grad is None), key
            assert parameter.grad is None or torch.equal(other.grad, parameter.grad), key
    for key, buffer in model.named_buffers():
        assert torch.equal(saving.get_buffer(key), buffer), key
    saving.set_grad_checkpointing(False)
    assert kept_for_gradients(saving, IMAGES)[1] > kept


# "in-place shortcut" itself has no gradients: it overwrites what they need.
@pytest.mark.parametrize("name", sorted(toys.TOYS.keys() - {"in-place shortcut"}))
def test_checkpointing_respects_in_place_writes(name: str) -> None:
    toy = toys.TOYS[name]
    x = toy.input()
    model = subpath.convert(toy.build().train(), x)
    saving = copy.deepcopy(model)
    if model.plan.run == "in place":
        with pytest.raises(SubpathError, match="no gradient checkpointing of its own"):
            saving.set_grad_checkpointing()
        return
    saving.set_grad_checkpointing()
    for skip in model.skip_configs():
        for run in (model, saving):
            run.zero_grad()
            run(x.clone(), skip=skip).square().mean().backward()
        for key, parameter in model.named_parameters():
            got = saving.get_parameter(key).grad
            assert parameter.grad is None or torch.equal(got, parameter.grad), (skip, key)


class _WritesAfterStage(toys.ImageNet):
    """Changes its stage's output in place, in a way that twice is not once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(self.stem(x))
        x.add_(1.0)
        return self.fc(self.norm(x.tanh()).mean((2, 3)))


def test_checkpointing_does_not_write_twice() -> None:
    plain = _WritesAfterStage(8, {"layer": toys.stage(toys.PreActivation, 4, 8, 8)})
    model = subpath.convert(toys.randomise(plain).train(), IMAGES, groups=1)
    saving = copy.deepcopy(model)
    saving.set_grad_checkpointing()
    for run in (model, saving):
        run(IMAGES).square().sum().backward()
    for key, parameter in model.named_parameters():
        other = saving.get_parameter(key).grad
        assert parameter.grad is None or torch.equal(other, parameter.grad), key
