"""Semantic segmentation: images with masks, the two passes at each pixel, mIoU by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import subpath
from small_networks import Painter
from subpath.distill import Classes, Outputs, two_pass_step
from subpath.errors import DataError
from subpath.finetune import check_recipe, evaluate, finetune
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.engine import distillation_learner
from subpath.finetune.loader import Place
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection
from subpath.finetune.seeds import set_seeds
from subpath.finetune.tasks.masks import MaskedImages
from subpath.finetune.tasks.segmentation import SemanticSegmentation
from subpath.finetune.weight_updates import make_updater

COLOURS = np.array([[30, 30, 30], [220, 40, 40], [40, 220, 40]], np.uint8)


def write(folder, count, seed) -> None:
    """Squares of two colours on a dark ground; the border of each mask counts nowhere."""
    random = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((24, 24), np.uint8)
        for label in (1, 2):
            top, left = random.integers(2, 14, 2)
            mask[top : top + 9, left : left + 9] = label
        Image.fromarray(COLOURS[mask]).save(folder / "images" / f"{number}.png")
        mask[0], mask[-1] = 255, 255
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")


@pytest.fixture
def scenes(tmp_path):
    write(tmp_path / "scenes" / "train", 12, seed=0)
    write(tmp_path / "scenes" / "validation", 5, seed=1)
    return tmp_path / "scenes"


@pytest.fixture
def recipe(scenes) -> dict:
    return {
        "task": "semantic_segmentation",
        "name": "squares",
        "device": "cpu",
        "model": {"name": "small_networks:Painter"},
        "data": {"root": str(scenes), "num_classes": 3, "input_size": [3, 24, 24]},
        "finetune": {
            "epochs": 8,
            "batch_size": 4,
            "optimiser": {"name": "adamw", "lr": 0.02},
        },
    }


def read_by_hand(folder):
    """Images as published networks take them, and masks."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images, masks = [], []
    for path in sorted((folder / "images").iterdir()):
        pixels = np.asarray(Image.open(path)) / 255
        images.append(((pixels - mean) / std).transpose(2, 0, 1))
        masks.append(np.asarray(Image.open(folder / "masks" / path.name)))
    return torch.tensor(np.array(images)).float(), torch.tensor(np.array(masks)).long()


def miou(model, images, masks, **how):
    with torch.no_grad():
        logits = model.eval()(images, **how)["out"]
    logits = F.interpolate(logits, size=masks.shape[1:], mode="bilinear")
    told, seen = logits.argmax(1).numpy(), masks.numpy()
    counted = seen != 255
    shares = []
    for label in range(3):
        there, said = (seen == label) & counted, (told == label) & counted
        if (there | said).any():
            shares.append((there & said).sum() / (there | said).sum())
    return 100 * np.mean(shares)


def test_a_run_tells_the_overlap_of_every_config(recipe, scenes, tmp_path):
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    model = subpath.load(tmp_path / "run", model=Painter(3))
    images, masks = read_by_hand(scenes / "validation")
    for config in summary.configs:
        expected = miou(model, images, masks, skip=config.skip)
        assert config.metrics["miou"] == pytest.approx(expected, abs=1e-3)
    assert summary.configs[0].metrics["miou"] > 60  # the ground alone would give 25
    assert evaluate(tmp_path / "run", ["TT"], model=Painter(3)).configs == summary.configs[-1:]
    got = evaluate(tmp_path / "run", ["FT"], calibrate_batches=2, model=Painter(3))
    assert got.configs[0].metrics["miou"] != summary.configs[2].metrics["miou"]


def test_the_gradients_are_those_of_the_step_by_hand(recipe, scenes):
    made = check_recipe(recipe)
    task = SemanticSegmentation.open(made)
    (batch,) = task.validation_batches(5, Place())
    images, masks = read_by_hand(scenes / "validation")
    torch.testing.assert_close(batch[0], images)
    assert torch.equal(batch[1], masks)
    model = subpath.convert(Painter(3), images[:2]).train()
    by_hand = copy.deepcopy(model)
    processes = start_processes("cpu")
    updater = make_updater(model, made.finetune, 1, processes)
    student = ConfigRunner(model, processes, read=task.read)
    section = DistillSection(weight=1.0, base_task=0.5)
    criterion = task.criterion(made.finetune)
    learn = distillation_learner(student, updater, criterion, section, outputs=task.outputs)
    losses = learn(*batch, 1.0, 0)

    def loss(output, classes):
        big = F.interpolate(output["out"], size=(24, 24), mode="bilinear")
        nats = -big.log_softmax(1).gather(1, classes.clamp(max=2)[:, None])[:, 0]
        return nats[classes != 255].mean()

    at_pixels = Outputs({"out": Classes(dim=1)})
    expected = two_pass_step(by_hand, images, masks, loss, outputs=at_pixels, base_task=0.5)
    torch.testing.assert_close(losses["loss"], expected.total)
    for (name, weight), other in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, msg=name)
        assert weight.grad.abs().sum() > 0


def test_image_and_mask_are_cropped_and_flipped_together(recipe):
    """The colour of almost every pixel still tells its class; borders are blurred."""
    section = check_recipe(recipe).data
    train = MaskedImages(section, "train", augmented=True)
    mean, std = torch.tensor(section.mean)[:, None, None], torch.tensor(section.std)[:, None, None]
    set_seeds(0)
    different = []
    for index in range(len(train)):
        image, mask = train[index]
        assert image.shape == (3, 24, 24)
        red, green, _ = (image * std + mean) * 255
        told = torch.where(red > 125, 1, torch.where(green > 125, 2, 0))
        counted = mask != 255
        assert (told == mask)[counted].float().mean() > 0.9
        different.append(not torch.equal(train.unaugmented()[index][1], mask))
    assert all(different)


def test_what_is_wrong_with_masks_is_told(recipe, scenes):
    def opened(**data):
        return SemanticSegmentation.open(
            check_recipe({**recipe, "data": {**recipe["data"], **data}})
        )

    with pytest.raises(DataError, match=r"got the class 2 in .*png; expected 0 to 1, or 255"):
        list(opened(num_classes=2).validation_batches(5, Place()))
    with pytest.raises(DataError, match="got no images in"):
        opened(train_split="training")
    (scenes / "validation" / "masks" / "3.png").unlink()
    with pytest.raises(DataError, match=r"got 1 images without a mask .*such as 3\.png"):
        opened()
    Image.new("RGB", (24, 24)).save(scenes / "validation" / "masks" / "3.png")
    with pytest.raises(DataError, match="of mode RGB and size"):
        list(opened().validation_batches(5, Place()))
    with pytest.raises(DataError, match="expected logits of shape"):
        opened().read({"boxes": torch.zeros(2, 3, 4, 4)})
