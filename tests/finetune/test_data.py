"""Held-back data is held back, whatever the source."""

from __future__ import annotations

import gzip
import shutil
import struct

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pictures import write_images
from subpath import zoo
from subpath.errors import DataError
from subpath.finetune.data import held_back_loader, image_format, open_data, training_loader
from subpath.finetune.recipe import AugmentSection, DataSection


def everything(loader):
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def plain(section, batch_size=10):
    network = zoo.create_model("resnet18", num_classes=2)
    split = open_data(section, seed=0)
    form = image_format(section, network)
    return split, everything(held_back_loader(split.held_back, form, batch_size, 0))


def test_digits_are_split_by_class_with_nothing_in_common():
    split = open_data(DataSection(), seed=3)
    digits = load_digits()
    assert len(split.train) + len(split.held_back) == len(digits.target) == 1797
    assert split.num_classes == 10
    parts = [
        [(np.asarray(image), label) for image, label in (part[i] for i in range(len(part)))]
        for part in (split.train, split.held_back)
    ]
    held_back = np.bincount([label for _, label in parts[1]])
    np.testing.assert_allclose(held_back, 0.2 * np.bincount(digits.target), atol=0.5)
    # The same images as scikit-learn's, each once (a few are exact duplicates there too).
    pixels = sorted(image.tobytes() + bytes([label]) for part in parts for image, label in part)
    expected = (digits.images * (255 / 16)).round().astype(np.uint8)
    assert pixels == sorted(
        image.tobytes() + bytes([label])
        for image, label in zip(expected, digits.target.tolist(), strict=True)
    )


def test_the_split_depends_on_the_seed_alone():
    labels = [
        [part.held_back[i][1] for i in range(50)]
        for part in (open_data(DataSection(), seed) for seed in (0, 0, 1))
    ]
    images = [
        np.asarray(open_data(DataSection(), seed).held_back[0][0]).tobytes() for seed in (0, 0, 1)
    ]
    assert labels[0] == labels[1]
    assert images[0] == images[1]
    assert labels[0] != labels[2]


def test_a_folder_with_two_splits(images):
    section = DataSection(name="folder", root=str(images), input_size=(3, 32, 32), crop=1.0)
    split, (x, y) = plain(section)
    assert (len(split.train), len(split.held_back), split.num_classes) == (36, 15, 3)
    assert x.shape == (15, 3, 32, 32)
    assert torch.bincount(y).tolist() == [5, 5, 5]
    brightness = [x[y == label].mean() for label in range(3)]
    assert brightness[0] < brightness[2] < brightness[1]  # dark, striped, light


def test_a_folder_without_splits_is_not_evaluated_on_its_training_images(images):
    one = str(images / "train")
    with pytest.raises(DataError, match="36 images that are in both"):
        open_data(DataSection(name="folder", root=one), seed=0)
    split = open_data(DataSection(name="folder", root=one, held_back=0.25), seed=0)
    assert (len(split.train), len(split.held_back)) == (27, 9)
    labels = [split.held_back[i][1] for i in range(9)]
    assert np.bincount(labels).tolist() == [3, 3, 3]


def test_held_back_classes_must_be_those_of_training(images, tmp_path):
    shutil.copytree(images / "train", tmp_path / "train")
    write_images(tmp_path / "validation", 2, seed=2, classes=("light", "striped"))
    with pytest.raises(DataError, match="only one of them: dark"):
        open_data(DataSection(name="folder", root=str(tmp_path)), seed=0)


def idx(path, array):
    """The format of MNIST: a magic number, the shape, the bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    with gzip.open(path.with_suffix(".gz"), "wb") as file:
        file.write(path.read_bytes())


def test_torchvision_sets_in_grey_and_in_colour(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, count in (("train", 20), ("t10k", 8)):
        idx(raw / f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28)))
        idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    for channels in (1, 3):
        section = DataSection(
            name="torch/fashion_mnist", root=str(tmp_path), input_size=(channels, 32, 32)
        )
        split, (x, y) = plain(section)
        assert (len(split.train), len(split.held_back), split.num_classes) == (20, 8, 10)
        assert x.shape == (8, channels, 32, 32)
        assert y.tolist() == list(range(8))


def test_training_batches_are_full_shuffled_and_augmented():
    section = DataSection(input_size=(1, 16, 16))
    split = open_data(section, seed=0)
    form = image_format(section, zoo.create_model("resnet18"))
    loader = training_loader(split.train, form, AugmentSection(), 100, 0)
    assert len(loader) == len(split.train) // 100
    first, again = everything(loader), everything(loader)
    assert first[0].shape == (100 * len(loader), 1, 16, 16)
    assert not torch.equal(first[1], again[1])
    with pytest.raises(DataError, match="Lower batch_size"):
        training_loader(split.train, form, AugmentSection(), 5000, 0)


def test_normalisation_is_the_one_asked_for():
    section = DataSection(input_size=(1, 8, 8), mean=(0.25,), std=(0.5,), crop=1.0)
    split, (x, _) = plain(section, batch_size=400)
    expected = np.stack(
        [np.asarray(split.held_back._dataset._images[i]) for i in split.held_back._indices]
    )
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
