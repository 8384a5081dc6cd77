"""Schedules by formula; which weights change, how fast, and how their gradients are clipped."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F

import subpath
from loops import batches, network, phase
from subpath.errors import RecipeError
from subpath.finetune.phase import (
    ClipSection,
    EmaSection,
    OptimiserSection,
    PhaseSection,
    ScheduleSection,
)
from subpath.finetune.processes import start_processes
from subpath.finetune.weight_updates import make_updater


def updates_of(model, phase, per_epoch=2):
    return make_updater(model, phase, per_epoch, start_processes("cpu"))


def rates(schedule, epochs, per_epoch=2, lr=0.1):
    made = updates_of(network(), phase(epochs=epochs, schedule=schedule), per_epoch)
    found = []
    for _ in range(epochs * per_epoch):
        found.append(made.learning_rate / lr)
        made.step()
    return found


def gradients(model, seed=0):
    torch.manual_seed(seed)
    model.train()
    ((x, y),) = batches(1)
    F.cross_entropy(model(x), y).backward()


def test_step_decays_after_a_warm_up():
    schedule = ScheduleSection(
        name="step", warmup_epochs=1, warmup_lr=0.0, decay_epochs=2, decay_rate=0.1
    )
    assert rates(schedule, 4) == pytest.approx([0, 0.5, 1, 1, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("per_epoch", [1, 2, 5])
def test_multistep_decays_at_the_first_update_of_a_milestone(per_epoch):
    """Kang and Lee train ResNet-50 with the rate lowered at epochs 60, 100 and 140."""
    schedule = ScheduleSection(name="multistep", decay_milestones=(3, 5, 7))
    expected = [
        0.1 ** sum(epoch >= milestone for milestone in (3, 5, 7))
        for epoch in range(8)
        for _ in range(per_epoch)
    ]
    assert rates(schedule, 8, per_epoch) == pytest.approx(expected)


def test_cosine_after_a_warm_up_of_its_own():
    """The published recipes: LinearLR, then CosineAnnealingLR over the epochs that are left."""
    schedule = ScheduleSection(
        name="cosine", warmup_epochs=2, warmup_lr=0.001, warmup_first=True, min_lr=0.01
    )
    got = rates(schedule, 6)
    warm = [0.01 + 0.99 * step / 4 for step in range(4)]
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert got == pytest.approx(warm + cosine)


def test_sgd_is_nesterov_s_and_momentum_is_plain():
    found = {}
    for name in ("sgd", "momentum"):
        model = network()
        section = OptimiserSection(name=name, lr=0.1, momentum=0.9)
        made = updates_of(model, PhaseSection(epochs=9, optimiser=section))
        before = model.fc.bias.detach().clone()
        model.fc.bias.grad = torch.ones(4)
        made.optimiser.step()
        found[name] = (before - model.fc.bias.detach())[0].item()
    assert found["momentum"] == pytest.approx(0.1)  # v = g
    assert found["sgd"] == pytest.approx(0.1 * (1 + 0.9))  # g + momentum * v


def test_norms_and_biases_do_not_decay():
    model = subpath.convert(network(), batches(1)[0][0])
    made = updates_of(model, phase())
    decayed = {id(p) for g in made.optimiser.param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.ndim > 1), name
    assert sum(len(g["params"]) for g in made.optimiser.param_groups) == len(
        list(model.parameters())
    )


def test_layers_learn_slower_the_deeper_and_twins_as_their_originals():
    vit = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
    model = subpath.convert(network("vit_tiny_patch16_224", **vit))
    section = OptimiserSection(name="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    made = updates_of(model, PhaseSection(epochs=9, optimiser=section))
    rate = {id(p): g["lr"] for g in made.optimiser.param_groups for p in g["params"]}
    # Embedding, blocks 0 to 3 (timm counts the last norm to the last of them), head: 6 layers.
    expected = {"patch_embed.proj.weight": 0.5**5, "head.weight": 1.0, "norm.weight": 0.5}
    expected |= {f"blocks.{i}.mlp.fc1.weight": 0.5 ** (4 - i) for i in range(4)}
    by_name = dict(model.named_parameters())
    for name, scale in expected.items():
        assert rate[id(by_name[name])] == pytest.approx(scale), name
    twins = [name for name in by_name if name.startswith("twin_norms.")]
    assert twins
    for name in twins:
        original = by_name[name.split(".", 2)[2]]
        assert rate[id(by_name[name])] == rate[id(original)], name


def changed(section: OptimiserSection, schedule: ScheduleSection) -> dict[str, torch.Tensor]:
    """How far one update in the middle of a phase moves each weight against gradients of one."""
    vit = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
    model = subpath.convert(network("vit_tiny_patch16_224", **vit))
    made = updates_of(model, PhaseSection(epochs=4, optimiser=section, schedule=schedule))
    made.schedule.step_update(7)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("schedule", ["cosine", "poly", "constant"])
@pytest.mark.parametrize("layer_decay", [None, 0.5])
@pytest.mark.parametrize("optimiser", ["momentum", "adamw", "sgd"])
def test_twins_may_learn_faster(optimiser, layer_decay, schedule):
    section = OptimiserSection(name=optimiser, lr=0.01, layer_decay=layer_decay)
    faster = section.model_copy(update={"twin_lr": 20.0})
    one, other = (changed(s, ScheduleSection(name=schedule)) for s in (section, faster))
    assert sum(name.startswith("twin_norms.") for name in one) == 8  # norms of two blocks
    for name, change in one.items():
        times = 20 if name.startswith("twin_norms.") else 1
        torch.testing.assert_close(other[name], times * change, rtol=1e-3, atol=1e-7)


def test_patches_may_learn_faster():
    model = subpath.convert(network(), batches(1)[0][0])
    model.set_patches(model.possible_patches())
    section = OptimiserSection(name="adamw", lr=0.01, twin_lr=5.0, patch_lr=3.0)
    rates = {
        id(p): group["lr"]
        for group in updates_of(model, phase(optimiser=section)).optimiser.param_groups
        for p in group["params"]
    }
    times = {"patches": 3, "twin_norms": 5}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.01 * times.get(name.split(".")[0], 1)), name


@pytest.mark.parametrize("mode", ["norm", "value", "agc"])
def test_gradients_are_clipped(mode):
    model = subpath.convert(network(), batches(1)[0][0])
    made = updates_of(model, phase(clip=ClipSection(mode=mode, value=1e-3)))
    gradients(model)
    before = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    made.clip()
    after = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    norm = torch.cat([g.flatten() for g in before.values()]).norm()
    for name, g in before.items():
        p = model.get_parameter(name)
        if mode == "norm":
            expected = g * (1e-3 / (norm + 1e-6))
        elif mode == "value":
            expected = g.clamp(-1e-3, 1e-3)
        elif name.startswith("fc."):  # the classifier is spared
            expected = g
        else:  # each unit's gradient at most 1e-3 of its weights (Brock et al., 2021)
            dims = list(range(1, p.ndim)) if p.ndim > 1 else [0]
            limit = (
                torch.linalg.vector_norm(p.detach(), dim=dims, keepdim=True).clamp(min=1e-3) * 1e-3
            )
            size = torch.linalg.vector_norm(g, dim=dims, keepdim=True)
            expected = torch.where(size < limit, g, g * (limit / size.clamp(min=1e-6)))
        torch.testing.assert_close(after[name], expected, msg=lambda m, n=name: f"{n}: {m}")


def test_frozen_weights_and_the_statistics_of_frozen_norms_stay():
    model = subpath.convert(network(), batches(1)[0][0])
    before = copy.deepcopy(model.state_dict())
    made = updates_of(model, phase(freeze=("conv1.*", "bn1.*", "layer1.*", "twin_norms.0.*")))
    for _ in range(2):
        made.optimiser.zero_grad()
        made.train_mode()
        gradients_in_mode(model)
        made.step()
    after = model.state_dict()
    frozen = ("conv1.", "bn1.", "layer1.", "twin_norms.0.")
    for key, value in before.items():
        trained = not key.startswith(frozen) and not key.startswith("twin_norms.")
        assert torch.equal(after[key], value) != trained, key
    made.unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(RecipeError, match=r"'conv9\.\*', which matches no weight"):
        updates_of(model, phase(freeze=("conv9.*",)))


def gradients_in_mode(model):
    ((x, y),) = batches(1)
    F.cross_entropy(model(x), y).backward()


def test_the_moving_average_is_the_sum_it_should_be():
    model = network()
    made = updates_of(model, phase(ema=EmaSection(decay=0.75, warmup=False)))
    weights = []
    for step in range(4):
        made.optimiser.zero_grad()
        gradients(model, step)
        made.step()
        weights.append(model.conv1.weight.detach().clone())
    # The first update copies; each later one keeps three quarters.
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.75 * expected + 0.25 * weight
    torch.testing.assert_close(made.kept.conv1.weight, expected)
    assert made.kept is not model


def test_arguments_that_an_optimiser_does_not_take_are_a_recipe_error():
    section = OptimiserSection(arguments={"beta": 0.9})
    with pytest.raises(RecipeError, match="beta"):
        updates_of(network(), PhaseSection(epochs=1, optimiser=section))
