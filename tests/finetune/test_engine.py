"""The loops against loops written by hand."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import subpath
from loops import Fixed, assert_close, batches, by_hand, cosine, network, phase, training_of
from subpath.distill import two_pass_step
from subpath.errors import RunError
from subpath.finetune.callback import NoCallback
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.criterion import make_criterion, make_mix, make_teacher, with_teacher
from subpath.finetune.engine import random_config, train_epoch
from subpath.finetune.loss_meter import LossMeter
from subpath.finetune.metrics import accuracies, accuracy
from subpath.finetune.phase import MixupSection
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection, TeacherSection

CPU = torch.device("cpu")


def run_epoch(training, epoch=0):
    return train_epoch(training, epoch, LossMeter(CPU), NoCallback())


def plain(model, x, y):
    F.cross_entropy(model(x), y).backward()


def test_training_of_the_original_is_a_plain_loop():
    model, data = network().train(), batches()
    expected = copy.deepcopy(model)
    by_hand(expected, data * 2, plain, lambda step: cosine(step, 6))
    training = training_of(model, phase(), data)
    for epoch in range(2):
        losses = run_epoch(training, epoch)
    assert losses.logits is None
    assert_close(model, expected)


def test_fine_tuning_is_the_same_loop_with_two_passes():
    data = [(x.double(), y) for x, y in batches()]  # rounding grows from step to step
    model = subpath.convert(network().double(), data[0][0]).train()
    expected = copy.deepcopy(model)
    alpha, seen = 0.3, []

    def gradients(m, x, y):
        step = two_pass_step(m, x, y, F.cross_entropy, alpha=alpha, base_task=1.0, weight=1 / alpha)
        seen.append(step)

    by_hand(expected, data, gradients, lambda step: cosine(step, 3))
    losses = run_epoch(training_of(model, phase(epochs=1), data, DistillSection(alpha=alpha)))
    assert_close(model, expected)
    for key in ("task", "logits", "features", "base_task"):
        mean = sum(float(getattr(step, key)) for step in seen) / len(seen)
        assert getattr(losses, key) == pytest.approx(mean, rel=1e-3)
    learned = losses.logits + losses.features + losses.base_task
    total = alpha * losses.task + (1 - alpha) * learned
    assert losses.loss == pytest.approx(total, rel=1e-5)


def test_accumulated_batches_count_as_one():
    """Without batch statistics, two batches of four are one of eight; one left over is dropped."""
    small = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
    data = batches(5)
    joined = [tuple(torch.cat(pair) for pair in zip(*data[i : i + 2], strict=True)) for i in (0, 2)]
    model = subpath.convert(network("vit_tiny_patch16_224", **small), data[0][0])
    expected = copy.deepcopy(model)
    one = training_of(model, phase(epochs=1, accumulate=2), data, DistillSection())
    run_epoch(one)
    run_epoch(training_of(expected, phase(epochs=1), joined, DistillSection()))
    assert one.updater.done == 2
    assert_close(model, expected, rtol=1e-4, atol=1e-5)


def test_the_random_pass_is_one_more_distilled_config():
    data = batches(1)
    model = subpath.convert(network(), data[0][0]).train()
    expected = copy.deepcopy(model)
    training = training_of(model, phase(epochs=1), data, DistillSection(random_pass=True))
    used = []
    learn = training.learn
    training.learn = lambda x, y, weight, seed: used.append(seed) or learn(x, y, weight, seed)
    run_epoch(training)
    (config,) = random_config(4, used[0])

    def gradients(m, x, y):
        two_pass_step(m, x, y, F.cross_entropy, base_task=1.0, further=[config], weight=2.0)

    by_hand(expected, data, gradients, lambda step: 1.0)
    assert_close(model, expected)


def test_random_configs_are_those_between():
    drawn = {config for seed in range(300) for config in random_config(3, seed)}
    assert drawn == {"TFF", "FTF", "FFT", "TTF", "TFT", "FTT"}
    assert random_config(1, 0) == ()


def test_a_loss_that_is_no_number_is_named_with_its_pass_and_batch():
    data = batches(4)
    data[2] = (data[2][0].clone().fill_(float("inf")), data[2][1])
    model = subpath.convert(network(), data[0][0])
    with pytest.raises(RunError, match=r"super-net's pass, at batch 3 of epoch 1 of finetune"):
        run_epoch(training_of(model, phase(), data, DistillSection()))

    meter = LossMeter(CPU)
    good, bad = torch.ones(()), torch.tensor(float("nan"))
    for number in range(6):
        features = bad if number >= 4 else good
        meter.add({"loss": good, "task": good, "logits": good, "features": features}, 4)
    with pytest.raises(RunError, match=r"base-net's pass, at batch 5 of epoch 8 of finetune"):
        meter.check(start_processes("cpu"), "finetune", 7)


def test_label_smoothing_and_mixup_change_the_task_loss_alone():
    ((x, y),) = batches(1)
    output = torch.randn(4, 4)
    target = torch.full((4, 4), 0.05) + 0.8 * torch.eye(4)
    expected = -(target * output.log_softmax(1)).sum(1).mean()
    smooth = make_criterion(phase(label_smoothing=0.2))
    torch.testing.assert_close(smooth(output, y), expected)

    mixed = phase(label_smoothing=0.2, mixup=MixupSection(mixup=1.0))
    images, soft = make_mix(mixed, 4)(x.clone(), y)
    assert soft.shape == (4, 4)
    torch.testing.assert_close(soft.sum(1), torch.ones(4))
    share = (soft[0, 0] - 0.05) / 0.8  # of the first image; its partner is the last
    torch.testing.assert_close(images[0], share * x[0] + (1 - share) * x[3])
    expected = -(soft * output.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(make_criterion(mixed)(output, soft), expected)


def test_a_teacher_is_learned_from_beside_the_labels():
    taught_by = network().train()
    teacher = make_teacher(taught_by, start_processes("cpu"))
    ((x, y),) = batches(1)
    output = torch.randn(4, 4, requires_grad=True)
    section = TeacherSection(name="resnet18", weight=0.25, temperature=2.0)
    got = with_teacher(F.cross_entropy, section)(output, (y, teacher(x)))
    with torch.no_grad():
        p = (taught_by.eval()(x) / 2).softmax(1)
        q = (output / 2).softmax(1)
        kl = (p * (p / q).log()).sum() / 4
    expected = 0.75 * F.cross_entropy(output, y) + 0.25 * 4 * kl
    torch.testing.assert_close(got, expected)
    got.backward()
    assert all(parameter.grad is None for parameter in taught_by.parameters())


def test_bfloat16_learns_nearly_the_same_with_weights_in_single():
    data = batches(1, size=16)
    model = subpath.convert(network(), data[0][0]).train()
    half = copy.deepcopy(model)
    losses = {}
    for precision, m in (("fp32", model), ("bf16", half)):
        processes = start_processes("cpu", precision)
        dtypes = set()
        handle = m.get_submodule("layer2.1.conv2").register_forward_hook(
            lambda module, args, output, seen=dtypes: seen.add(output.dtype)
        )
        training = training_of(m, phase(epochs=1), data, DistillSection(), processes)
        losses[precision] = run_epoch(training).loss
        handle.remove()
        assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]
    assert all(p.dtype == torch.float32 for p in half.parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_recomputed_stages_give_the_same_gradients_and_statistics(name, monkeypatch):
    # Each pass by itself: gradients that go back as one sum would round elsewhere.
    apart = lambda self: nullcontext(self.forward_features_of_stages)  # noqa: E731
    monkeypatch.setattr(ConfigRunner, "sharing", apart)
    small = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
    data = batches(2)
    original = network() if name == "resnet18" else network(name, drop_rate=0.2, **small)
    model = subpath.convert(original, data[0][0])
    again = copy.deepcopy(model)
    run_epoch(training_of(model, phase(epochs=1), data, DistillSection()))
    run_epoch(training_of(again, phase(epochs=1), data, DistillSection(), recompute=True))
    assert_close(again, model, rtol=0, atol=0)


def test_recomputed_stages_keep_fewer_tensors():
    ((x, _),) = batches(1)
    model = subpath.convert(network(), x).train()
    sizes = {}
    for recompute in (False, True):
        student = ConfigRunner(model, start_processes("cpu"), recompute=recompute)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t
        ):
            student.forward_features_of_stages(x, skip="FFFF")
        sizes[recompute] = sum(kept)
    assert sizes[True] < 0.5 * sizes[False]


def test_each_config_is_compiled_as_one_graph(monkeypatch):
    whole = partial(torch.compile, backend="aot_eager", fullgraph=True)  # inductor takes minutes
    monkeypatch.setattr(torch, "compile", whole)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    data = batches(2)
    model = subpath.convert(network(), data[0][0]).train()
    expected = copy.deepcopy(model)
    run_epoch(training_of(model, phase(epochs=1), data, DistillSection(), compiled=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    run_epoch(training_of(expected, phase(epochs=1), data, DistillSection()))
    assert_close(model, expected, rtol=1e-3, atol=1e-4)


def test_accuracy_counts_every_image_once_in_eval_mode():
    data = [*batches(2), (torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]))]
    original = network().train()
    model = subpath.convert(original, data[0][0])
    x = torch.cat([x for x, _ in data])
    y = torch.cat([y for _, y in data])
    processes = start_processes("cpu")
    got = accuracies(model, data, processes, ["FFFF", "TFTF"])
    with torch.no_grad():
        for skip in ("FFFF", "TFTF"):
            right = (model.eval()(x, skip=skip).argmax(1) == y).float().mean()
            assert got[skip] == pytest.approx(100 * right.item(), abs=1e-3)
        assert accuracy(original, data, processes) == got["FFFF"]


def test_going_on_inside_an_epoch_uses_the_batches_that_are_left():
    data = batches(3)
    seen = []
    training = training_of(network(), phase(), data)
    training.batches = Fixed(data)
    learn = training.learn
    training.learn = lambda x, y, weight, seed: seen.append(x) or learn(x, y, weight, seed)
    meter = LossMeter(CPU)
    meter.batches = 2
    meter.sums += 1.0
    train_epoch(training, 0, meter, NoCallback())
    assert len(seen) == 1
    assert torch.equal(seen[0], data[2][0])
    assert meter.batches == 3
    np.testing.assert_allclose(float(meter.sums[2]), 1.0)
