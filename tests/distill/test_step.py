"""The two-pass step against the same step written by hand on a hand-built network."""

from __future__ import annotations

import copy
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import subpath
from subpath import distill
from subpath.distill import two_pass_step
from subpath.errors import SubpathError
from toys import PostActivation, randomise

MANDATORY = ("a.0", "b.0")
SKIPPABLE = ("a.1", "b.1")


class Net(nn.Module):
    """Two stages of two blocks, batch norm throughout; ``b.0`` has a projection shortcut."""

    def __init__(self, heads: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.a = nn.Sequential(PostActivation(6, 6), PostActivation(6, 6))
        self.b = nn.Sequential(PostActivation(6, 8, 2), PostActivation(8, 8))
        self.heads = nn.ModuleList(nn.Linear(8, 4) for _ in range(heads))

    def forward(self, x):
        x = self.b(self.a(self.stem(x))).mean((2, 3))
        outputs = tuple(head(x) for head in self.heads)
        return outputs if len(outputs) > 1 else outputs[0]


def by_hand(net: Net) -> Net:
    """The base-net: no skippable blocks, own norms in mandatory blocks, all other weights shared.

    As published, the norm of the projection shortcut is shared.
    """
    base = copy.copy(net)
    base._modules = dict(net._modules)
    for stage in ("a", "b"):
        block = copy.copy(getattr(net, stage)[0])
        block._modules = dict(block._modules)
        block.bn1, block.bn2 = copy.deepcopy(block.bn1), copy.deepcopy(block.bn2)
        base._modules[stage] = nn.Sequential(block, nn.Identity())
    return base


def stages_of(net: Net, x):
    h_a = net.a(net.stem(x))
    h_b = net.b(h_a)
    outputs = [head(h_b.mean((2, 3))) for head in net.heads]
    return outputs, (h_a, h_b)


def kl(p_logits, q_logits, temperature):
    p, log_q = (p_logits / temperature).softmax(1), (q_logits / temperature).log_softmax(1)
    return temperature**2 * (p * (p.log() - log_q)).sum() / len(p)


def step_by_hand(net, base, x, targets, alpha, temperature, features):
    y_super, h_super = stages_of(net, x)
    task = sum(F.cross_entropy(y, targets) for y in y_super) / len(y_super)
    (alpha * task).backward()
    y_base, h_base = stages_of(base, x)
    distillation = sum(
        kl(s.detach(), b, temperature) for s, b in zip(y_super, y_base, strict=True)
    ) / len(y_super)
    if features:
        for s, b in zip(h_super, h_base, strict=True):
            distillation = distillation + kl(s.detach().mean((2, 3)), b.mean((2, 3)), temperature)
    ((1 - alpha) * distillation).backward()
    return (alpha * task + (1 - alpha) * distillation).item()


def made(heads: int = 1):
    net = randomise(Net(heads)).double().train()
    x = torch.randn(6, 3, 8, 8, dtype=torch.double)
    return net, subpath.convert(net, x), x, torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize(
    ("alpha", "temperature", "features", "heads"),
    [(0.5, 1.0, True, 1), (0.3, 2.5, True, 1), (0.5, 1.0, False, 1), (0.5, 1.0, True, 2)],
)
def test_gradients_and_statistics_equal_the_step_by_hand(alpha, temperature, features, heads):
    net, model, x, targets = made(heads)
    base = by_hand(net)
    expected = step_by_hand(net, base, x, targets, alpha, temperature, features)
    losses = two_pass_step(
        model,
        x,
        targets,
        F.cross_entropy,
        alpha=alpha,
        temperature=temperature,
        features=features,
    )
    assert losses.total.item() == pytest.approx(expected, rel=1e-9)
    assert not losses.total.requires_grad

    by_name = dict(net.named_parameters())
    buffers = dict(net.named_buffers())
    for path in MANDATORY:
        for norm in ("bn1", "bn2"):
            twin = f"twin_norms.{'ab'.index(path[0])}.{path}.{norm}"
            for name, parameter in base.get_submodule(f"{path}.{norm}").named_parameters():
                by_name[f"{twin}.{name}"] = parameter
            for name, buffer in base.get_submodule(f"{path}.{norm}").named_buffers():
                buffers[f"{twin}.{name}"] = buffer
    assert set(by_name) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, by_name[name].grad, msg=lambda m, n=name: n + m)
    assert set(buffers) == {name for name, _ in model.named_buffers()}
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], msg=lambda m, n=name: n + m)


def test_every_weight_stands_where_the_formula_has_it():
    """Weights of the terms, some stages alone, the base-net's own task, and one more config."""
    net, model, x, targets = made()
    base = by_hand(net)
    between = copy.copy(net)  # TF: the first stage of the base-net, the second of the super-net
    between._modules = {**net._modules, "a": base.a}
    y_super, h_super = stages_of(net, x)
    task = F.cross_entropy(y_super[0], targets)
    (0.25 * 0.3 * task).backward()
    total = 0.3 * task.item()
    for small in (base, between):
        (y,), h = stages_of(small, x)
        loss = 0.6 * kl(y_super[0].detach(), y, 2.0) + 0.2 * F.cross_entropy(y, targets)
        loss = loss + 1.5 * kl(h_super[1].detach().mean((2, 3)), h[1].mean((2, 3)), 2.0)
        (0.25 * 0.7 * loss).backward()
        total += 0.7 * loss.item()
    backwards = []

    def backward(loss):
        backwards.append(loss)
        loss.backward()

    losses = two_pass_step(
        model,
        x,
        targets,
        F.cross_entropy,
        alpha=0.3,
        temperature=2.0,
        logits=0.6,
        features=1.5,
        stages=[1],
        base_task=0.2,
        further=["TF"],
        weight=0.25,
        backward=backward,
    )
    assert len(backwards) == 3
    assert losses.total.item() == pytest.approx(total, rel=1e-9)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad, msg=name)
    for stage, path in (("a", "a.0"), ("b", "b.0")):
        for norm in ("bn1", "bn2"):
            twin = model.get_submodule(f"twin_norms.{'ab'.index(stage)}.{path}.{norm}")
            expected = base.get_submodule(f"{path}.{norm}")
            torch.testing.assert_close(twin.weight.grad, expected.weight.grad)


def test_a_stage_that_is_not_there_is_refused_before_any_gradient():
    _, model, x, targets = made()
    with pytest.raises(SubpathError, match=r"stages \[2\]; expected numbers from 0 to 1"):
        two_pass_step(model, x, targets, F.cross_entropy, stages=[2])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_statistics_of_twins_and_originals_stay_apart():
    """Mandatory norms see the super-net's pass alone, their twins the base-net's alone."""
    net, model, x, targets = made()
    alone = copy.deepcopy(net)
    alone(x)  # one super-net pass of the original
    two_pass_step(model, x, targets, F.cross_entropy)
    counted = {
        name.removesuffix(".num_batches_tracked"): int(count)
        for name, count in model.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    twins = {name for name in counted if name.startswith("twin_norms")}
    projection = {"b.0.downsample.1"}
    assert len(twins) == 4
    assert {counted[name] for name in counted.keys() - projection} == {1}
    assert counted["b.0.downsample.1"] == 2  # shared by both passes, as published
    for path in (*MANDATORY, *SKIPPABLE):
        for norm in ("bn1", "bn2"):
            got, expected = model.get_submodule(path), alone.get_submodule(path)
            got, expected = getattr(got, norm), getattr(expected, norm)
            assert torch.equal(got.running_mean, expected.running_mean)
            assert torch.equal(got.running_var, expected.running_var)
    # a.1 is skipped in the base pass, so b.0 sees other values there.
    own, twin = model.get_submodule("b.0.bn1"), model.get_submodule("twin_norms.1.b.0.bn1")
    assert not torch.allclose(own.running_mean, twin.running_mean)


def test_gradients_add_up_over_calls_and_nothing_is_stepped():
    _, model, x, targets = made()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    two_pass_step(model, x, targets, F.cross_entropy)
    once = {name: p.grad.clone() for name, p in model.named_parameters()}
    two_pass_step(model, x, targets, F.cross_entropy)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name])
        assert torch.equal(parameter, before[name])


def test_alpha_one_is_plain_training_of_the_super_net():
    net, model, x, targets = made()
    F.cross_entropy(net(x), targets).backward()
    two_pass_step(model, x, targets, F.cross_entropy, alpha=1.0)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad)


def test_skippable_branches_learn_from_the_task_alone():
    net, model, x, targets = made()
    (0.5 * F.cross_entropy(net(x), targets)).backward()
    two_pass_step(model, x, targets, F.cross_entropy)
    for path in SKIPPABLE:
        for name, parameter in net.get_submodule(path).named_parameters():
            grad = model.get_parameter(f"{path}.{name}").grad
            torch.testing.assert_close(grad, parameter.grad)


@pytest.mark.parametrize("wrong", [{"alpha": -0.1}, {"alpha": 1.5}, {"temperature": 0.0}])
def test_impossible_weights_are_refused_before_any_gradient(wrong):
    _, model, x, targets = made()
    with pytest.raises(SubpathError, match="expected alpha from 0 to 1"):
        two_pass_step(model, x, targets, F.cross_entropy, **wrong)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_loop_in_the_docs_learns(tmp_path):
    """Runs the example as it is printed in the module's docstring and in the documentation."""
    text = textwrap.dedent(distill.__doc__.split("::\n\n", 1)[1])
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    assert text in page
    images = torch.randn(16, 3, 8, 8)
    targets = (images.mean((1, 2, 3)) > 0).long()
    network = Net()
    scope = {
        "subpath": subpath,
        "torch": torch,
        "F": F,
        "two_pass_step": two_pass_step,
        "network": network,
        "example": images[:2],
        "loader": [(images, targets)],
        "directory": tmp_path,
        "print": lambda *values: seen.append(values[-1]),
    }
    seen: list[float] = []
    exec(text, scope)
    assert len(seen) == 10
    assert seen[-1] < seen[0]
    again = subpath.load(tmp_path, Net(), example_input=images[:2])
    scope["model"].eval()
    assert torch.equal(again(images, skip="TT"), scope["model"](images, skip="TT"))
