"""The comparison by numbers says yes to a right conversion and no to wrong ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

import subpath
from subpath import zoo
from subpath.adaptive.graph_model import GraphModel
from subpath.adaptive.model import AdaptiveModel
from subpath.graph.equality import unequal
from subpath.sweep import parity
from subpath.sweep.block_removal import without_blocks
from subpath.sweep.parity import MADE, QUESTIONS, compare
from subpath.sweep.subject import Subject, make_original, make_subject


def test_a_resnet_passes_every_question() -> None:
    answers = compare("timm", "resnet34")
    assert list(answers) == [MADE, *QUESTIONS]
    assert {title: check.why for title, check in answers.items() if not check.passed} == {}
    assert answers[MADE].why == "3x64x64, drop_rate=0.2, drop_path_rate=0.2"


def test_what_the_original_cannot_do_is_no_failure() -> None:
    answers = compare("timm", "mixer_s32_224")
    assert answers[MADE].why.startswith("3x64x64, img_size=64")
    other = answers.pop("other size")
    assert other.passed is None
    assert "the original does not run: AssertionError: Input height" in other.why
    assert {title: check.why for title, check in answers.items() if not check.passed} == {}


def test_what_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = compare("timm", "vgg11")
    assert list(answers) == [MADE]
    assert answers[MADE].passed is False
    assert "NoResidualError" in answers[MADE].why


def test_no_weight_hides_an_error() -> None:
    for name in ("resnet18", "convnext_atto"):
        model = make_original(zoo.library("timm"), name, {})
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                assert tensor.max() > tensor.min()
                assert tensor.abs().max() > 1e-2


@pytest.fixture(scope="module")
def resnet() -> Subject:
    return make_subject(zoo.library("timm"), "resnet18")


def scale_a_weight(model: AdaptiveModel) -> None:
    with torch.no_grad():
        model.layer2[0].conv1.weight.mul_(1.001)


def freeze_a_norm(model: AdaptiveModel) -> None:
    model.layer3[0].bn1.momentum = 0.0


def no_gradient(model: AdaptiveModel) -> None:
    model.layer4[1].conv1.weight.requires_grad_(False)


def no_drop_path(model: AdaptiveModel) -> None:
    model.layer2[1].drop_path.drop_prob = 0.0


@pytest.mark.parametrize(
    ("change", "question", "word"),
    [
        (scale_a_weight, "eval", "differ, by up to"),
        (scale_a_weight, "bfloat16", "differ, by up to"),
        (scale_a_weight, "other size", "differ, by up to"),
        (freeze_a_norm, "train step", "layer3.0.bn1.running_mean"),
        (no_gradient, "train step", "missing: gradient of layer4.1.conv1.weight"),
        (no_drop_path, "train step", "loss"),
    ],
)
def test_a_wrong_conversion_is_found(
    change: Callable[[AdaptiveModel], None], question: str, word: str, resnet: Subject
) -> None:
    adaptive = copy.deepcopy(resnet.adaptive)
    change(adaptive)
    difference = QUESTIONS[question](dataclasses.replace(resnet, adaptive=adaptive))
    assert word in difference


def test_a_base_net_that_skips_nothing_is_found(
    resnet: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    adaptive = copy.deepcopy(resnet.adaptive)
    forward = GraphModel.forward
    monkeypatch.setattr(GraphModel, "forward", lambda self, x, skip=None: forward(self, x))
    wrong = dataclasses.replace(resnet, adaptive=adaptive)
    first = "T" + "F" * (len(adaptive.stages) - 1)
    assert QUESTIONS["every config"](wrong) == f"{first} gives the same numbers as the super-net"
    assert "differ" in QUESTIONS["base-net by hand"](wrong)


@pytest.mark.parametrize("name", ["resnet18", "caformer_s18", "cspresnet50"])
def test_blocks_are_taken_out_by_hand(name: str) -> None:
    """One ends its blocks with ReLU, one has scales on its shortcuts, one ends with leaky ReLU."""
    model = make_original(zoo.library("timm"), name, {})
    images = torch.randn(1, 3, 64, 64)
    adaptive = subpath.convert(model, images)
    with torch.no_grad():
        base = adaptive(images, skip="T" * len(adaptive.stages))
        replaced, silenced, *_ = (m(images) for m in without_blocks(model, adaptive))
    assert unequal(silenced, base) == ""
    assert (unequal(replaced, base) == "") == (name == "resnet18")


def test_gates_of_blocks_are_closed_by_hand() -> None:
    """Its blocks give back a second value that the head reads, and fade by a learned sigmoid."""
    model = make_original(zoo.library("timm"), "efficientvim_m1", {})
    images = torch.randn(1, 3, 64, 64)
    adaptive = subpath.convert(model, images)
    with torch.no_grad():
        base = adaptive(images, skip="TTT")
        *others, closed = without_blocks(model, adaptive)
        assert unequal(closed(images), base) == ""
        assert unequal(others[-1](images), base) != ""


def test_another_cut_than_at_full_size_is_found(resnet: Subject) -> None:
    adaptive = subpath.convert(resnet.original, resnet.example, blocks=["layer2.1"])
    wrong = dataclasses.replace(resnet, adaptive=adaptive)
    assert QUESTIONS["same cut"](wrong) == "got layer2 1 of 2; expected " + ", ".join(
        f"layer{i} 1 of 2" for i in (1, 2, 3, 4)
    )


def test_errors_of_the_converted_model_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: AdaptiveModel, *inputs: object, **more: object) -> None:
        raise RuntimeError("no luck")

    def made_and_broken(library: zoo.Library, name: str) -> Subject:
        subject = make_subject(library, name)  # convert itself refuses what does not run
        monkeypatch.setattr(GraphModel, "forward", fail)
        return subject

    monkeypatch.setattr("subpath.sweep.parity.make_subject", made_and_broken)
    answers = compare("timm", "resnet18")
    assert answers["eval"].passed is False
    assert answers["eval"].why == "RuntimeError: no luck"


def test_numbers_that_are_not_finite_prove_nothing(resnet: Subject) -> None:
    original = copy.deepcopy(resnet.original)
    with torch.no_grad():
        original.conv1.weight.fill_(torch.nan)
    answer = parity._answer(QUESTIONS["eval"], dataclasses.replace(resnet, original=original))
    assert answer.passed is None
    assert "not finite" in answer.why


def test_what_is_unequal() -> None:
    x = torch.arange(4.0)
    assert unequal((x, {"a": x}), (x.clone(), {"a": x.clone()})) == ""
    assert "1 of 4 numbers differ, by up to 0.5" in unequal(x, x + torch.tensor([0, 0.5, 0, 0]))
    assert "float64" in unequal(x, x.double())
    assert "shape" in unequal(x, x[:2])
    assert "tuple" in unequal(x, (x,))
    assert "missing: b" in unequal({"a": x, "b": x}, {"a": x})
    assert unequal([x, 1], [x, 2])
    assert unequal({"layer": [x, x]}, {"layer": [x, -x]}).startswith("['layer'][1]: 3 of 4")


def test_modules_stand_as_they_were(resnet: Subject) -> None:
    models: tuple[nn.Module, ...] = (resnet.original, resnet.adaptive)
    before = [copy.deepcopy(dict(model.state_dict())) for model in models]
    for ask in QUESTIONS.values():
        ask(resnet)
    assert unequal(before, [dict(model.state_dict()) for model in models]) == ""
    assert not any(model.training for model in models)
    assert all(p.grad is None for model in models for p in model.parameters())
