"""Training data and validation data: opened, split, and the form that the network takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timm.data import create_dataset, resolve_data_config
from torch import nn
from torch.utils.data import Dataset

from ..errors import DataError
from . import array_datasets
from .recipe import DataSection

Images = Dataset[tuple[Any, int]]


@dataclass(frozen=True)
class Split:
    """Training images and validation images, with nothing in common.

    Attributes:
        train: the training images.
        validation: the images to measure accuracy on.
        num_classes: how many classes the labels tell apart.
    """

    train: Images
    validation: Images
    num_classes: int


@dataclass(frozen=True)
class ImageFormat:
    """How images are brought to the form that the network takes.

    Attributes:
        size: channels, height, width.
        train_size: the same while training.
        mean: subtracted, for each channel.
        std: divided by, for each channel.
        interpolation: for resizing.
        crop: centre crop for evaluation, as a share of the resized image.
    """

    size: tuple[int, int, int]
    train_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float


def open_data(section: DataSection, seed: int) -> Split:
    """Open the data set that a recipe names.

    Args:
        section: the recipe's ``data``.
        seed: of the split, where the data set has none of its own.

    Raises:
        DataError: the data is not there, has no validation part, or the validation part has other
            classes.
    """
    if section.name == "digits":
        split = _split_off(array_datasets.digits(), section.validation_share or 0.2, seed)
        return Split(*split, section.num_classes or 10)
    if section.name == "fashion_mnist":
        train, others = array_datasets.fashion_mnist(section.root, section.download)
        if section.validation_share is not None:
            return Split(*_split_off(train, section.validation_share, seed), 10)
        return Split(train, others, 10)
    images = _open(section, section.train_split)
    if section.validation_share is not None:
        return Split(
            *_split_off(images, section.validation_share, seed), _num_classes(section, images)
        )
    validation = _open(section, section.validation_split)
    _check_apart(section, images, validation)
    return Split(images, validation, _num_classes(section, images))


def image_format(section: DataSection, model: nn.Module) -> ImageFormat:
    """The form of the images: what the recipe says, else timm's data config of the model."""
    config = resolve_data_config(model=model)
    size = section.input_size or tuple(config["input_size"])
    mean, std = section.mean or config["mean"], section.std or config["std"]
    if size[0] == 1:  # grey images: the mean of the colours
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    if len(mean) != size[0] or len(std) != size[0]:
        raise DataError(
            f"got {size[0]} image channels, and {len(mean)} numbers for the mean and {len(std)} "
            "for the standard deviation; expected as many of each. Set data.mean and data.std"
        )
    return ImageFormat(
        size=size,
        train_size=(size[0], *(section.train_size or size[1:])),
        mean=tuple(mean),
        std=tuple(std),
        interpolation=section.interpolation or config["interpolation"],
        crop=section.crop or config["crop_pct"],
    )


def _open(section: DataSection, split: str) -> Images:
    # torchvision's reader closes the files it opens; timm's own leaves that to chance.
    name = "torch/image_folder" if section.name == "folder" else section.name
    root = Path(section.root or "")
    if not root.exists() and not section.download:
        raise DataError(
            f"got data.root {str(root)!r}, which is not there; expected the directory of "
            f"{section.name}, or data.download: true where the data set can be downloaded"
        )
    try:
        dataset: Images = create_dataset(
            name,
            root=str(root),
            split=split,
            download=section.download,
            is_training=split == section.train_split,
        )
    except Exception as error:  # data sets fail in many ways
        raise DataError(
            f"got an error while opening the split {split!r} of {section.name} in {root} "
            f"({type(error).__name__}: {error}); expected data that timm's create_dataset can read"
        ) from error
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"got {section.name}, a stream of images; expected a data set whose images can be "
            "taken in any order, such as a folder or torchvision's"
        )
    return dataset


def _check_apart(section: DataSection, train: Images, validation: Images) -> None:
    """Refuse a validation split that timm quietly took from the training images."""
    common = set(_files(train)) & set(_files(validation))
    if common:
        raise DataError(
            f"got {len(common)} images that are in both {section.train_split!r} and "
            f"{section.validation_split!r} of {section.root}; expected two sub-folders of these "
            "names. Set data.train_split and data.validation_split, or let "
            "data.validation_share: 0.2 split one folder"
        )
    classes, others = _classes(train), _classes(validation)
    if classes is not None and others is not None and classes != others:
        raise DataError(
            f"got {len(classes)} classes in {section.train_split!r} and {len(others)} in "
            f"{section.validation_split!r}; expected the same. In only one of them: "
            f"{', '.join(sorted(set(classes) ^ set(others))[:6]) or 'none, but in another order'}"
        )


def _files(dataset: Images) -> list[str]:
    samples = getattr(dataset, "samples", ())
    return [str(Path(sample[0]).resolve()) for sample in samples if isinstance(sample[0], str)]


def _classes(dataset: Images) -> list[str] | None:
    names = getattr(dataset, "class_to_idx", None)
    return None if names is None else sorted(names, key=names.__getitem__)


def _num_classes(section: DataSection, train: Images) -> int:
    classes = _classes(train)
    if section.num_classes is not None:
        return section.num_classes
    if classes is None:
        raise DataError(
            f"got {section.name}, which does not tell its number of classes; expected "
            "data.num_classes in the recipe"
        )
    return len(classes)


def _split_off(dataset: Images, share: float, seed: int) -> tuple[_Part, _Part]:
    """Two parts of a data set; each class gives about ``share`` of its images to the second."""
    labels = np.asarray(_labels(dataset))
    random = np.random.default_rng(seed)
    kept, validation = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = round(share * len(members))
        validation.extend(members[:count].tolist())
        kept.extend(members[count:].tolist())
    if not kept or not validation:
        raise DataError(
            f"got {len(labels)} images in {len(np.unique(labels))} classes, of which "
            f"data.validation_share={share} leaves none on one side; expected more images or "
            "another share"
        )
    return _Part(dataset, sorted(kept)), _Part(dataset, sorted(validation))


def _labels(dataset: Images) -> Sequence[int]:
    if not hasattr(dataset, "targets"):
        raise DataError(
            f"got data.validation_share for a {type(dataset).__name__}, whose labels cannot be "
            "read without decoding every image; expected data.validation_split, a split of the data"
        )
    return [int(label) for label in dataset.targets]


class _Part(Dataset[tuple[Any, int]]):
    """Some samples of a data set, with a transform of its own."""

    def __init__(self, dataset: Images, indices: Sequence[int]) -> None:
        self._dataset: Any = copy.copy(dataset)
        self._indices = list(indices)

    @property
    def transform(self) -> Any:
        return self._dataset.transform

    @transform.setter
    def transform(self, transform: Any) -> None:
        self._dataset.transform = transform

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        sample: tuple[Any, int] = self._dataset[self._indices[index]]
        return sample
