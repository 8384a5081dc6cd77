"""Validation data is held back, whatever the source."""

from __future__ import annotations

import shutil
from itertools import chain

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pictures import write_fashion_mnist, write_images
from subpath import zoo
from subpath.errors import DataError
from subpath.finetune.array_datasets import DEBIAN, Pictures
from subpath.finetune.data import image_format, open_data
from subpath.finetune.loader import Place, TrainingBatches, validation_batches
from subpath.finetune.recipe import AugmentSection, DataSection


def everything(loader):
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def plain(section, batch_size=10):
    network = zoo.create_model("resnet18", num_classes=2)
    split = open_data(section, seed=0)
    form = image_format(section, network)
    return split, everything(validation_batches(split.validation, form, batch_size))


def test_digits_are_split_by_class_with_nothing_in_common():
    split = open_data(DataSection(), seed=3)
    digits = load_digits()
    assert len(split.train) + len(split.validation) == len(digits.target) == 1797
    assert split.num_classes == 10
    parts = [
        [(np.asarray(image), label) for image, label in (part[i] for i in range(len(part)))]
        for part in (split.train, split.validation)
    ]
    validation = np.bincount([label for _, label in parts[1]])
    np.testing.assert_allclose(validation, 0.2 * np.bincount(digits.target), atol=0.5)
    # The same images as scikit-learn's, each once (a few are exact duplicates there too).
    pixels = sorted(image.tobytes() + bytes([label]) for part in parts for image, label in part)
    expected = (digits.images * (255 / 16)).round().astype(np.uint8)
    assert pixels == sorted(
        image.tobytes() + bytes([label])
        for image, label in zip(expected, digits.target.tolist(), strict=True)
    )


def test_the_split_depends_on_the_seed_alone():
    labels = [
        [part.validation[i][1] for i in range(50)]
        for part in (open_data(DataSection(), seed) for seed in (0, 0, 1))
    ]
    images = [
        np.asarray(open_data(DataSection(), seed).validation[0][0]).tobytes() for seed in (0, 0, 1)
    ]
    assert labels[0] == labels[1]
    assert images[0] == images[1]
    assert labels[0] != labels[2]


def test_a_folder_with_two_splits(images):
    section = DataSection(name="folder", root=str(images), input_size=(3, 32, 32), crop=1.0)
    split, (x, y) = plain(section)
    assert (len(split.train), len(split.validation), split.num_classes) == (36, 15, 3)
    assert x.shape == (15, 3, 32, 32)
    assert torch.bincount(y).tolist() == [5, 5, 5]
    brightness = [x[y == label].mean() for label in range(3)]
    assert brightness[0] < brightness[2] < brightness[1]  # dark, striped, light


def test_a_folder_without_splits_is_not_evaluated_on_its_training_images(images):
    one = str(images / "train")
    with pytest.raises(DataError, match="36 images that are in both"):
        open_data(DataSection(name="folder", root=one), seed=0)
    split = open_data(DataSection(name="folder", root=one, validation_share=0.25), seed=0)
    assert (len(split.train), len(split.validation)) == (27, 9)
    labels = [split.validation[i][1] for i in range(9)]
    assert np.bincount(labels).tolist() == [3, 3, 3]


def test_validation_classes_must_be_those_of_training(images, tmp_path):
    shutil.copytree(images / "train", tmp_path / "train")
    write_images(tmp_path / "validation", 2, seed=2, classes=("light", "striped"))
    with pytest.raises(DataError, match="only one of them: dark"):
        open_data(DataSection(name="folder", root=str(tmp_path)), seed=0)


def test_torchvision_sets_in_grey_and_in_colour(tmp_path):
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw")
    for channels in (1, 3):
        section = DataSection(
            name="torch/fashion_mnist", root=str(tmp_path), input_size=(channels, 32, 32)
        )
        split, (x, y) = plain(section)
        assert (len(split.train), len(split.validation), split.num_classes) == (20, 8, 10)
        assert x.shape == (8, channels, 32, 32)
        assert y.tolist() == list(range(8))


@pytest.mark.parametrize("place", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_from_its_four_files(tmp_path, place, packed):
    images = write_fashion_mnist(tmp_path / "all" / place)
    for path in (tmp_path / "all" / place).iterdir():
        if (path.suffix == ".gz") != packed:
            path.unlink()
    section = DataSection(name="fashion_mnist", root=str(tmp_path / "all"))
    split = open_data(section, seed=0)
    for part, name in ((split.train, "train"), (split.validation, "t10k")):
        assert len(part) == len(images[name])
        for number in (0, 7):
            image, label = part[number]
            assert label == number
            assert np.array_equal(np.asarray(image), images[name][number])
    validation = open_data(section.model_copy(update={"validation_share": 0.5}), seed=0)
    assert (len(validation.train), len(validation.validation)) == (10, 10)


def test_damaged_and_missing_fashion_mnist(tmp_path):
    write_fashion_mnist(tmp_path / "raw")
    section = DataSection(name="fashion_mnist", root=str(tmp_path / "raw"))
    for file in (tmp_path / "raw").glob("t10k-images*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte, which cannot be read"):
        open_data(section, seed=0)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        open_data(section.model_copy(update={"root": str(tmp_path)}), seed=0)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the Debian package is not installed")
def test_the_debian_package_is_found():
    split = open_data(DataSection(name="fashion_mnist"), seed=0)
    assert (len(split.train), len(split.validation)) == (60000, 10000)
    assert np.bincount(split.train.targets).tolist() == [6000] * 10


def test_training_batches_are_full_shuffled_and_augmented():
    section = DataSection(input_size=(1, 16, 16))
    split = open_data(section, seed=0)
    form = image_format(section, zoo.create_model("resnet18"))
    loader = TrainingBatches(split.train, form, AugmentSection(), 100, (0,))
    assert len(loader) == len(split.train) // 100
    first, again, later = (everything(loader.epoch(number)) for number in (0, 0, 1))
    assert first[0].shape == (100 * len(loader), 1, 16, 16)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], later[1])
    with pytest.raises(DataError, match="Lower batch_size"):
        TrainingBatches(split.train, form, AugmentSection(), 5000, (0,))


def strong() -> AugmentSection:
    """Draws from the generators of Python, NumPy and torch."""
    return AugmentSection(auto_augment="rand-m9-mstd0.5", erase=0.5, color_jitter=0.4)


@pytest.mark.parametrize("augment", [strong(), AugmentSection(auto_augment="ta_wide", erase=0.5)])
def test_batches_depend_on_seed_and_place_alone(images, augment):
    section = DataSection(name="folder", root=str(images), input_size=(3, 32, 32))
    found = {}
    for name, seeds, workers in (("a", (5, 1), 0), ("b", (5, 1), 2), ("other", (6, 1), 0)):
        split = open_data(section, seed=0)
        form = image_format(section, zoo.create_model("resnet18"))
        made = TrainingBatches(split.train, form, augment, 5, seeds, Place(workers=workers))
        torch.manual_seed(len(found))  # what was drawn before does not matter
        whole = list(made.epoch(3))
        rest = list(made.epoch(3, start=4))
        found[name] = whole
        assert len(whole) == 7
        for (x, y), (x_, y_) in zip(whole[4:], rest, strict=True):
            assert torch.equal(x, x_)
            assert torch.equal(y, y_)
        del made
    for (x, y), (x_, y_) in zip(found["a"], found["b"], strict=True):
        assert torch.equal(x, x_)
        assert torch.equal(y, y_)
    assert not torch.equal(found["a"][0][0], found["other"][0][0])


def numbered(count):
    """Images that show their number, so that a batch tells what is in it."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    return Pictures(pixels, np.zeros(count, int))


def numbers(batches):
    return [(x[:, 0, 0, 0] * 255).round().int().tolist() for x, _ in batches]


def flat(batches):
    return list(chain(*numbers(batches)))


def test_processes_share_the_batches_of_one():
    section = DataSection(input_size=(1, 8, 8), mean=(0.0,), std=(1.0,), crop=1.0)
    form = image_format(section, zoo.create_model("resnet18"))
    still = AugmentSection(scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.0)
    one = numbers(TrainingBatches(numbered(50), form, still, 8, (1,)).epoch(2))
    parts = [
        numbers(TrainingBatches(numbered(50), form, still, 4, (1,), Place(rank, 2)).epoch(2))
        for rank in (0, 1)
    ]
    assert len(one) == len(parts[0]) == len(parts[1]) == 6
    for joined, first, second in zip(one, *parts, strict=True):
        assert sorted(joined) == sorted(first + second)
    validation = [
        flat(validation_batches(numbered(11), form, 4, Place(rank, 3))) for rank in range(3)
    ]
    assert sorted(map(len, validation)) == [3, 4, 4]
    assert sorted(chain(*validation)) == list(range(11))


def test_repeated_augmentation_shows_an_image_to_neighbours():
    section = DataSection(input_size=(1, 8, 8), mean=(0.0,), std=(1.0,), crop=1.0)
    form = image_format(section, zoo.create_model("resnet18"))
    still = AugmentSection(scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.0, repeats=2)
    parts = [
        flat(TrainingBatches(numbered(40), form, still, 5, (1,), Place(rank, 2)).epoch(0))
        for rank in (0, 1)
    ]
    assert parts[0] == parts[1]  # each image once on each of the two processes
    assert len(parts[0]) == len(set(parts[0])) == 20


def test_training_may_have_another_size():
    section = DataSection(input_size=(1, 16, 16), train_size=(12, 8))
    split = open_data(section, seed=0)
    form = image_format(section, zoo.create_model("resnet18"))
    x, _ = next(TrainingBatches(split.train, form, AugmentSection(), 4, (0,)).epoch(0))
    assert x.shape == (4, 1, 12, 8)
    x, _ = next(iter(validation_batches(split.validation, form, 4)))
    assert x.shape == (4, 1, 16, 16)


def test_normalisation_is_the_one_asked_for():
    section = DataSection(input_size=(1, 8, 8), mean=(0.25,), std=(0.5,), crop=1.0)
    split, (x, _) = plain(section, batch_size=400)
    part = split.validation
    expected = part._dataset._pixels[part._indices]
    np.testing.assert_allclose(x[:, 0].numpy(), (expected / 255 - 0.25) / 0.5, atol=1e-5)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (DataSection(name="folder", root="/nowhere/at/all"), "not there"),
        (DataSection(name="torch/nonsense", root="."), "Unknown torchvision dataset"),
    ],
)
def test_missing_data(section, expected):
    with pytest.raises(DataError, match=expected):
        open_data(section, seed=0)


def test_channels_and_means_must_agree():
    section = DataSection(input_size=(4, 8, 8))
    with pytest.raises(DataError, match=r"data\.mean"):
        image_format(section, zoo.create_model("resnet18"))
