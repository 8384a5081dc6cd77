"""The recipes: the published settings by formula, and one epoch of each on a few small images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import subpath
from pictures import write_fashion_mnist
from subpath.finetune import evaluation, finetune, read_recipe
from subpath.finetune.network import architecture, make_network
from subpath.finetune.processes import start_processes
from subpath.finetune.weight_updates import make_updater

FOLDER = Path(__file__).parents[2] / "recipes"
PUBLISHED = sorted(path.stem for path in FOLDER.glob("imagenet-*.yaml"))

# What each one takes to run on images of a few pixels.
SMALL = {
    "imagenet-resnet50": ["model.arguments.channels=[8,8,8,8]"],
    "imagenet-resnet50-600": ["model.arguments.channels=[8,8,8,8]", "data.train_size=[24,24]"],
    "imagenet-mobilenetv2": [],
    "imagenet-vit-b16": [
        "model.arguments={img_size: 32, patch_size: 16, embed_dim: 24, depth: 8, num_heads: 3}"
    ],
    "imagenet-swin-t": [
        "model.arguments={img_size: 32, patch_size: 2, window_size: 2, embed_dim: 12, "
        "depths: [2, 2, 2, 2], num_heads: [1, 2, 3, 6]}"
    ],
    "folder": [
        "model.arguments.channels=[8,8,8,8]",
        "model.weights=scratch",
        "train.epochs=1",
        "train.batch_size=4",
        "train.schedule.warmup_epochs=0",
        "fit.images=8",
        "fit.batch_size=4",
    ],
    "fashion-resnet": [],
    "fashion-mobilenet": [],
    "fashion-vit": [],
    "fashion-lite0": [
        "data.input_size=[3,32,32]",
        "model.weights=scratch",
        "train.epochs=1",
        "train.batch_size=4",
    ],
}


# Tested by test_run.py and the test of each task.
ELSEWHERE = {"quickstart", "python-docs", "python-functions", "fashion-scenes", "fashion-boxes"}


def read(name, *overrides):
    return read_recipe(FOLDER / f"{name}.yaml", overrides)


def rates(phase, per_epoch):
    """The learning rate of every update, as the engine sets it."""
    processes = start_processes("cpu")
    model = timm.create_model("resnet18", channels=[8, 8, 8, 8])
    updater = make_updater(model, phase.model_copy(update={"ema": None}), per_epoch, processes)
    found = []
    for number in range(phase.epochs * per_epoch):
        found.append(updater.learning_rate)
        updater.schedule.step_update(number + 1)
    return np.array(found)


def steps(lr, milestones, epochs, per_epoch):
    """torch's MultiStepLR with factor 0.1, stepped after each epoch."""
    return np.array(
        [
            lr * 0.1 ** sum(e >= m for m in milestones)
            for e in range(epochs)
            for _ in range(per_epoch)
        ]
    )


def cosine(lr, warmup, start, end, epochs, per_epoch):
    """LinearLR from ``start``, then CosineAnnealingLR to ``end``, with fractions of epochs."""
    found = []
    for update in range(epochs * per_epoch):
        epoch = update / per_epoch
        if epoch < warmup:
            found.append(start + (lr - start) * epoch / warmup)
        else:
            share = (epoch - warmup) / (epochs - warmup)
            found.append(end + (lr - end) * (1 + math.cos(math.pi * share)) / 2)
    return np.array(found)


# github.com/wchkang/depth, README: the commands. Where a command is silent, torchvision's defaults.
SCHEDULES = {
    "imagenet-resnet50": steps(0.1, (60, 100, 140), 150, 3),
    "imagenet-resnet50-600": cosine(0.5, 5, 0.01 * 0.5, 0.0, 600, 3),
    "imagenet-mobilenetv2": steps(0.1, (150, 225, 285), 300, 3),
    "imagenet-vit-b16": cosine(7.5e-4, 30, 0.033 * 7.5e-4, 0.0, 300, 3),
    "imagenet-swin-t": cosine(1e-3, 20, 0.01 * 1e-3, 1e-5, 300, 3),
}
# Images of a step, optimiser, weight decay, that of norms and biases, clip, label smoothing.
SETTINGS = {
    "imagenet-resnet50": (4 * 64, torch.optim.SGD, 1e-4, 0.0, None, 0.0),
    "imagenet-resnet50-600": (4 * 256, torch.optim.SGD, 2e-5, 0.0, None, 0.0),
    "imagenet-mobilenetv2": (4 * 64, torch.optim.SGD, 1e-5, 0.0, None, 0.0),
    "imagenet-vit-b16": (4 * 256, torch.optim.AdamW, 0.2, 0.2, 1.0, 0.11),
    "imagenet-swin-t": (4 * 256, torch.optim.AdamW, 0.05, 0.0, 5.0, 0.1),
}
CUTS = {  # blocks that are skipped in each stage
    "imagenet-resnet50": [1, 2, 3, 1],
    "imagenet-resnet50-600": [1, 2, 3, 1],
    "imagenet-mobilenetv2": [1, 1, 2, 1, 1],
    "imagenet-vit-b16": [1, 1, 1, 1],
    "imagenet-swin-t": [1, 1, 3, 1],
}


def test_every_recipe_is_tested():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*SMALL, *ELSEWHERE}
    assert set(PUBLISHED) == set(SCHEDULES) == set(SETTINGS) == set(CUTS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_learning_rate_is_the_published_one(name):
    np.testing.assert_allclose(
        rates(read(name).finetune, 3), SCHEDULES[name], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_other_settings_are_the_published_ones(name):
    recipe = read(name, *SMALL[name])
    images, kind, decay, decay_of_norms, clip, smoothing = SETTINGS[name]
    phase = recipe.finetune
    assert 4 * phase.batch_size * phase.accumulate == images
    assert (phase.clip and phase.clip.value) == clip
    assert phase.label_smoothing == smoothing
    network = timm.create_model(recipe.model.name, **recipe.model.arguments)
    example = torch.zeros(2, 3, 32, 32)
    model = subpath.convert(network, example)
    updater = make_updater(model, phase, 1, start_processes("cpu"))
    assert type(updater.optimiser) is kind
    if kind is torch.optim.SGD:
        assert {(g["momentum"], g["nesterov"]) for g in updater.optimiser.param_groups} == {
            (0.9, False)
        }
    else:
        assert {g["betas"] for g in updater.optimiser.param_groups} == {(0.9, 0.999)}
    found = {
        id(p): group["weight_decay"]
        for group in updater.optimiser.param_groups
        for p in group["params"]
    }
    for key, parameter in model.named_parameters():
        if key in {"cls_token", "pos_embed"} or "relative_position" in key:
            continue
        assert found[id(parameter)] == (decay if parameter.ndim > 1 else decay_of_norms), key
    assert (recipe.distill.alpha, recipe.distill.temperature) == (0.5, 1.0)
    assert (recipe.distill.whole, recipe.distill.base_task) == (1.0, 0.0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_is_cut_as_published(name):
    recipe = read(name)
    with torch.device("meta"):
        network = timm.create_model(recipe.model.name, **recipe.model.arguments)
        plan = subpath.plan(network, groups=recipe.convert.groups)
    assert [len(stage.skippable) for stage in plan.stages] == CUTS[name]


@pytest.mark.parametrize("name", SMALL)
def test_an_epoch_on_a_few_small_images(name, images, tmp_path, monkeypatch):
    # All configs would take most of the time.
    monkeypatch.setattr(evaluation, "useful_configs", lambda stages: ("F" * stages, "T" * stages))
    overrides = [
        *SMALL[name],
        "finetune.epochs=1",
        "finetune.batch_size=4",
        "finetune.schedule.warmup_epochs=0",
        "device=cpu",
    ]
    if name.startswith("fashion"):
        write_fashion_mnist(tmp_path / "data")
        overrides += [f"data.root={tmp_path / 'data'}"]
    else:
        overrides += [f"data.root={images}", "data.input_size=[3,32,32]", "data.workers=0"]
        overrides += [] if name == "folder" else ["data.validation_split=validation"]
    summary = finetune(read(name, *overrides), tmp_path / "run")
    assert {config.skip[0] for config in summary.configs} == {"T", "F"}
    recipe = read(name, *overrides)
    made = architecture(recipe, 10)
    loaded = subpath.load(
        tmp_path / "run", model=None if made.is_timm else make_network(recipe, made)
    )
    assert len(loaded.stages) == len(summary.configs[0].skip)
