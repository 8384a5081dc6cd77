"""What two passes have in common runs once: same losses and statistics, same gradients."""

from __future__ import annotations

import copy
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel
from subpath.distill import Outputs, StepLosses, Values, two_pass_step
from toys import TOYS, PostActivation

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Apart:
    """A student whose passes share nothing."""

    def __init__(self, model: AdaptiveModel) -> None:
        self.stages, self.original_frozen = model.stages, model.original_frozen
        self.forward_features_of_stages = model.forward_features_of_stages

    def sharing(self) -> Any:
        return nullcontext(self.forward_features_of_stages)


class Net(nn.Module):
    """A stem with a norm of its own, then two stages; something at the start of each if asked."""

    def __init__(self, before: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.before, self.after = before or nn.Identity(), after or nn.Identity()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.a = nn.Sequential(PostActivation(6, 6), PostActivation(6, 6))
        self.b = nn.Sequential(PostActivation(6, 8, 2), PostActivation(8, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(self.before(x))), inplace=True)
        return self.head(self.b(self.a(self.after(x))).mean((2, 3)))


def converted(net: nn.Module, example: Any = IMAGES, **how: Any) -> AdaptiveModel:
    model = subpath.convert(toys.randomise(net).train(), example, **how)
    for name, added in model.named_children():
        if name in ("twin_norms", "additions"):
            toys.randomise(added, seed=1)
    return model


def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (output.mean() - targets).square().mean()


def step(model: Any, inputs: Any = IMAGES, seed: int = 0, **knobs: Any) -> StepLosses:
    torch.manual_seed(seed)
    batch = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    return two_pass_step(model, inputs, torch.arange(batch), loss, **knobs)


def calls(model: AdaptiveModel) -> Counter[str]:
    """How often each module without children is called with gradients on, from now on."""
    found = Counter[str]()
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda *_, name=name: found.update([name] * torch.is_grad_enabled())
            )
    return found


def same(
    model: AdaptiveModel, inputs: Any = IMAGES, seed: int = 0, steps: int = 1, **knobs: Any
) -> Counter[str]:
    """Check a step against one that shares nothing; how often modules were called."""
    model.zero_grad()
    other = copy.deepcopy(model)
    found = calls(model)
    for number in range(steps):
        got = step(model, inputs, seed + number, **knobs)
        expected = step(Apart(other), inputs, seed + number, **knobs)
        for name, value in vars(expected).items():
            assert torch.equal(getattr(got, name), value), name
    buffers = dict(model.named_buffers())
    for name, buffer in other.named_buffers():
        assert torch.equal(buffers[name], buffer), name
    for name, weight in other.named_parameters():
        grad = model.get_parameter(name).grad
        if weight.grad is None:
            assert grad is None, name
        elif found[name.rpartition(".")[0]] == 2 * steps:
            assert torch.equal(grad, weight.grad), name
        else:  # a sum of gradients went back once, not two by themselves
            off = (grad - weight.grad).norm()
            assert off <= 1e-5 * weight.grad.norm() + 1e-9, name  # some are noise around zero
    return found


@pytest.mark.parametrize("name", sorted(TOYS.keys() - {"in-place shortcut"}))  # has no gradient
def test_a_step_gives_what_two_separate_passes_give(name: str) -> None:
    known = TOYS[name]
    model = converted(known.build(), known.input())
    if None in (model.plan.ends or ()):
        pytest.skip("it runs in place, and a stage of it does not show its output")
    same(model, known.input(), logits=0.0)


def test_the_stem_runs_once_and_counts_twice() -> None:
    model = converted(Net())
    found = same(model)
    assert found["conv"] == found["norm"] == found["a.0.conv1"] == 1
    assert found["a.0.conv2"] == found["head"] == 2
    assert model.get_buffer("norm.num_batches_tracked") == 2
    assert same(model, steps=3)["conv"] == 3


def test_gradients_are_as_near_the_truth_as_those_of_two_passes() -> None:
    """Against the same step in double precision."""
    model = converted(Net())
    apart, exact = copy.deepcopy(model), copy.deepcopy(model).double()
    step(model), step(Apart(apart)), step(Apart(exact), IMAGES.double())
    for name in ("conv.weight", "norm.weight", "norm.bias", "a.0.conv1.weight"):
        true = exact.get_parameter(name).grad
        off, before = (
            (m.get_parameter(name).grad - true).norm() / true.norm() for m in (model, apart)
        )
        assert off < 2 * before + 1e-6, name


def test_in_double_precision_gradients_agree() -> None:
    model = converted(Net().double(), IMAGES.double())
    other = copy.deepcopy(model)
    step(model, IMAGES.double()), step(Apart(other), IMAGES.double())
    for name, weight in other.named_parameters():
        torch.testing.assert_close(
            model.get_parameter(name).grad, weight.grad, rtol=1e-12, atol=1e-13
        )


def test_what_draws_random_numbers_is_not_shared() -> None:
    model = converted(Net(after=nn.Dropout(0.5)))
    found = same(model, steps=2)
    assert found["conv"] == 2
    assert found["after"] == found["a.0.conv1"] == 4
    model = converted(Net(before=nn.Dropout(0.5)))
    assert same(model)["conv"] == 2


def test_what_begins_to_draw_is_noticed() -> None:
    model = converted(Net(before=nn.Dropout(0.0)))
    assert same(model)["conv"] == 1
    model.get_submodule("before").p = 0.5
    same(model)  # drawn anew in the second pass
    model.zero_grad()
    assert same(model)["conv"] == 2


class Counting(nn.Module):
    """Adds up what it sees, and writes into a buffer before it reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += x.detach().mean()
        return x * 1.5


def test_any_module_s_buffers_count_both_passes() -> None:
    assert same(converted(Net(before=Counting(), after=Counting())))["conv"] == 1


def test_statistics_of_a_norm_in_eval_mode_stay() -> None:
    model = converted(Net())
    model.get_submodule("norm").eval()
    before = model.get_buffer("norm.running_mean").clone()
    assert same(model)["norm"] == 1
    assert torch.equal(model.get_buffer("norm.running_mean"), before)


class Writes(nn.Module):
    """Its first block writes into what the stem gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(4))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        for norm in self.norms:
            x += norm(self.fc(x * 1.0))
        return self.head(x.mean((2, 3)))


def test_what_is_written_into_later_is_not_shared() -> None:
    assert same(converted(Writes()))["conv"] == 2


def test_a_layer_with_an_addition_runs_once_and_what_changes_it_does_not() -> None:
    found = same(converted(Net(), low_rank=2))
    assert found["a.0.conv1"] == found["additions.0.a.0.conv1.down"] == 1
    assert found["a.0.conv2"] == 2


class WrittenInto(nn.Module):
    """The output of its layer is rectified in its own memory."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.back = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.back(F.relu_(self.mix(x)))


def test_a_layer_with_an_addition_that_is_written_into() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), *(WrittenInto() for _ in range(4)), nn.Flatten())
    same(converted(net, low_rank=2), outputs=Outputs({"": Values()}))


def test_more_configs_and_terms() -> None:
    found = same(converted(Net()), further=["TF", "FT"], base_task=0.5, weight=0.25, alpha=0.3)
    assert found["conv"] == 1
    assert found["head"] == 4


def test_gradients_of_inputs() -> None:
    model, grads = converted(Net()), []
    for student in (model, Apart(copy.deepcopy(model))):
        x = IMAGES.clone().requires_grad_()
        step(student, x)
        grads.append(x.grad)
    torch.testing.assert_close(*grads)


def test_a_frozen_original() -> None:
    model = converted(Net())
    model.freeze_original()
    found = same(model.train(), steps=2)
    assert found["conv"] == 0  # never with gradients


def test_a_weight_of_the_stem_that_learns_beside_a_frozen_original() -> None:
    model = converted(Net())
    model.freeze_original()
    model.get_parameter("conv.weight").requires_grad = True
    other = copy.deepcopy(model)
    step(model), step(Apart(other))
    assert torch.equal(
        model.get_parameter("conv.weight").grad, other.get_parameter("conv.weight").grad
    )


def test_stages_that_are_computed_again_share_nothing() -> None:
    model = converted(Net())
    model.set_grad_checkpointing()
    other = copy.deepcopy(model)
    step(model), step(Apart(other))
    for name, weight in other.named_parameters():
        assert torch.equal(model.get_parameter(name).grad, weight.grad), name


def test_autocast_and_a_scaled_loss() -> None:
    model = converted(Net())
    other = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        got = step(model, backward=lambda loss: (1024 * loss).backward())
        expected = step(Apart(other), backward=lambda loss: (1024 * loss).backward())
    assert torch.equal(got.total, expected.total)
    for name, weight in other.named_parameters():
        grad = model.get_parameter(name).grad
        assert (grad - weight.grad).norm() <= 0.02 * weight.grad.norm(), name


def test_a_replaced_module_is_met() -> None:
    model = converted(Net())
    step(model)
    model.zero_grad()
    model.set_submodule("conv", nn.Conv2d(3, 6, 3, padding=1, bias=False))
    same(model)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"channels": [8, 8, 8, 8]}),
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 8}),
        ("mobilenetv2_050", {"drop_path_rate": 0.2, "drop_rate": 0.2}),
    ],
)
def test_published_networks(name: str, options: dict[str, Any]) -> None:
    network = timm.create_model(name, num_classes=5, **options)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    same(converted(network.double(), images.double()), images.double(), steps=2)
