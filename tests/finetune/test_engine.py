"""The loops against loops written by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F

import subpath
from subpath import zoo
from subpath.errors import RecipeError
from subpath.finetune.accuracy import accuracies, accuracy
from subpath.finetune.engine import finetune_epoch, make_trainer, train_epoch
from subpath.finetune.observer import Silent
from subpath.finetune.recipe import (
    DistillSection,
    MixupSection,
    OptimiserSection,
    PhaseSection,
    ScheduleSection,
)

CPU = torch.device("cpu")


def phase(epochs=2, **arguments) -> PhaseSection:
    optimiser = OptimiserSection(name="momentum", lr=0.1, weight_decay=0.01)
    return PhaseSection(epochs=epochs, batch_size=4, optimiser=optimiser, **arguments)


def batches(count=3):
    return [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])) for _ in range(count)]


def network():
    return zoo.create_model("resnet18", channels=[4, 4, 4, 4], num_classes=4)


def by_hand(model, lr, momentum, weight_decay, data, gradients, schedule):
    """SGD with momentum, weight decay on matrices and kernels alone, and a schedule by formula."""
    velocity = {}
    for step, (x, y) in enumerate(data):
        model.zero_grad()
        gradients(model, x, y)
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = p.grad + (weight_decay * p if p.ndim > 1 else 0)
                velocity[name] = momentum * velocity[name] + g if step else g
                p -= lr * schedule(step) * velocity[name]


def cosine(step, steps):
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def test_training_of_the_original_is_a_plain_loop():
    model, data = network().train(), batches()
    expected = copy.deepcopy(model)
    by_hand(
        expected,
        *(0.1, 0.9, 0.01),
        data * 2,
        lambda m, x, y: F.cross_entropy(m(x), y).backward(),
        lambda step: cosine(step, 6),
    )
    trainer = make_trainer(model, phase(), len(data), 4, CPU)
    for _ in range(2):
        losses = train_epoch(model, data, trainer, Silent())
    assert losses.logits is None
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter, expected.get_parameter(name), rtol=1e-4, atol=1e-6, msg=name
        )


def test_fine_tuning_is_the_same_loop_with_two_passes():
    data = batches()
    model = subpath.convert(network(), data[0][0]).train()
    expected = copy.deepcopy(model)
    alpha, seen = 0.3, []

    def gradients(m, x, y):
        losses = subpath.distill.two_pass_step(m, x, y, F.cross_entropy, alpha=alpha)
        seen.append(losses)

    by_hand(expected, *(0.1, 0.9, 0.01), data, gradients, lambda step: cosine(step, 3))
    trainer = make_trainer(model, phase(epochs=1), len(data), 4, CPU)
    losses = finetune_epoch(model, data, trainer, DistillSection(alpha=alpha), Silent())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter, expected.get_parameter(name), rtol=1e-4, atol=1e-6, msg=name
        )
    for key in ("task", "logits", "features"):
        mean = sum(float(getattr(step, key)) for step in seen) / len(seen)
        assert getattr(losses, key) == pytest.approx(mean, rel=1e-3)
    total = alpha * losses.task + (1 - alpha) * (losses.logits + losses.features)
    assert losses.loss == pytest.approx(total, rel=1e-5)


def test_the_schedule_warms_up_and_steps_down():
    schedule = ScheduleSection(
        name="step", warmup_epochs=1, warmup_lr=0.0, decay_epochs=2, decay_rate=0.1
    )
    model, data = network(), batches(2)
    trainer = make_trainer(model, phase(epochs=4, schedule=schedule), len(data), 4, CPU)
    rates = []
    for _ in range(8):
        rates.append(trainer.learning_rate)
        trainer.step()
    assert rates == pytest.approx([0, 0.05, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])


def test_label_smoothing_and_mixup_change_the_task_loss_alone():
    model, (data,) = network(), batches(1)
    x, y = data
    smoothed = make_trainer(model, phase(label_smoothing=0.2), 1, 4, CPU)
    output = torch.randn(4, 4)
    target = torch.full((4, 4), 0.05) + 0.8 * torch.eye(4)
    expected = -(target * output.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smoothed.criterion(output, y), expected)
    mixed = make_trainer(
        model, phase(label_smoothing=0.2, mixup=MixupSection(mixup=1.0)), 1, 4, CPU
    )
    images, soft = mixed.batch(x.clone(), y)
    assert soft.shape == (4, 4)
    torch.testing.assert_close(soft.sum(1), torch.ones(4))
    share = (soft[0, 0] - 0.05) / 0.8  # of the first image; its partner is the last
    torch.testing.assert_close(images[0], share * x[0] + (1 - share) * x[3])
    expected = -(soft * output.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(mixed.criterion(output, soft), expected)


def test_arguments_that_an_optimiser_does_not_take_are_a_recipe_error():
    wrong = PhaseSection(epochs=1, optimiser=OptimiserSection(arguments={"beta": 0.9}))
    with pytest.raises(RecipeError, match="beta"):
        make_trainer(network(), wrong, 1, 4, CPU)


def test_accuracy_counts_every_image_once_in_eval_mode():
    data = [*batches(2), (torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]))]
    original = network().train()
    model = subpath.convert(original, data[0][0])
    x = torch.cat([x for x, _ in data])
    y = torch.cat([y for _, y in data])
    got = accuracies(model, data, CPU, ["FFFF", "TFTF"])
    with torch.no_grad():
        for skip in ("FFFF", "TFTF"):
            right = (model.eval()(x, skip=skip).argmax(1) == y).float().mean()
            assert got[skip] == pytest.approx(100 * right.item(), abs=1e-3)
        assert accuracy(original, data, CPU) == got["FFFF"]
