"""Batches: which samples come when, augmented how, on which process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.distributed_sampler import RepeatAugSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, default_collate
from torchvision.transforms import Compose, InterpolationMode, TrivialAugmentWide

from ..errors import DataError
from .data import ImageFormat, Images
from .recipe import AugmentSection
from .seeds import Use, seed_of, set_seeds

Data = Dataset[Any]
Collate = Callable[[list[Any]], Any]


class Batches(Protocol):
    """Batches: pairs of inputs and targets."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Place:
    """Where the batches go.

    Attributes:
        rank: number of this process.
        count: how many processes share the data.
        workers: processes that load data for this one; 0 loads here.
        pinned: whether an accelerator waits for the batches.
    """

    rank: int = 0
    count: int = 1
    workers: int = 0
    pinned: bool = False


class SeededBatches:
    """Shuffled batches of any epoch, from any batch on.

    The order of an epoch and what is drawn for a batch depend on the seed and on the numbers of
    epoch, batch and process alone. A last incomplete batch is left out.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seeds: tuple[int, ...],
        place: Place = Place(),
        *,
        repeats: int = 1,
        collate: Collate = default_collate,
    ) -> None:
        """Prepare to load.

        Args:
            data: pairs of an input and its target.
            batch_size: pairs in a batch of one process.
            seeds: of the run, and of what tells this use of the data from others.
            place: where the batches go.
            repeats: how often a pair comes among the batches of one step.
            collate: makes one batch of a list of pairs.

        Raises:
            DataError: there are fewer pairs than one batch of each process.
        """
        self._order = _Order(data, batch_size, repeats, seeds, place)
        if len(self) == 0:
            each = f" for each of {place.count} processes" if place.count > 1 else ""
            raise DataError(
                f"got {len(data)} training {self.kind} for batches of {batch_size}{each}; "  # type: ignore[arg-type]
                "expected at least one full batch. Lower batch_size"
            )
        self._loader = _loader(_Seeded(data), place, batch_sampler=self._order, collate_fn=collate)

    kind = "samples"

    def __len__(self) -> int:
        """Batches in an epoch, on each process."""
        return self._order.batches

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """The batches of epoch ``number`` (from 0), from batch ``start`` on."""
        self._order.number, self._order.start = number, start
        return iter(self._loader)


class TrainingBatches(SeededBatches):
    """Shuffled, augmented batches of images."""

    kind = "images"

    def __init__(
        self,
        images: Images,
        form: ImageFormat,
        augment: AugmentSection,
        batch_size: int,
        seeds: tuple[int, ...],
        place: Place = Place(),
    ) -> None:
        """Prepare to load.

        Args:
            images: the training images; they get a transform.
            form: of the batches.
            augment: what the recipe says.
            batch_size: images in a batch of one process.
            seeds: of the run, and of what tells this use of the data from others.
            place: where the batches go.

        Raises:
            DataError: there are fewer images than one batch of each process.
        """
        _set_transform(images, form, _training_transform(form, augment))
        super().__init__(images, batch_size, seeds, place, repeats=augment.repeats)


def validation_batches(
    images: Images,
    form: ImageFormat,
    batch_size: int,
    place: Place = Place(),
) -> Batches:
    """This process's share of the validation images, in order, not augmented.

    Every image is in the share of one process; the shares may differ by one image.
    """
    _set_transform(images, form, _still_transform(form))
    return in_order(images, batch_size, place)


def in_order(
    data: Data, batch_size: int, place: Place = Place(), collate: Collate = default_collate
) -> Batches:
    """This process's share of the data, in order."""
    share = range(place.rank, len(data), place.count)  # type: ignore[arg-type]
    return _loader(data, place, sampler=share, batch_size=batch_size, collate_fn=collate)


def unaugmented_batches(
    images: Images,
    form: ImageFormat,
    batch_size: int,
    count: int,
    seed: int,
    place: Place = Place(),
) -> Batches:
    """``count`` batches of images drawn at random, not augmented, the same on every process.

    Raises:
        DataError: there are fewer images than one batch.
    """
    _set_transform(images, form, _still_transform(form))
    return drawn(images, batch_size, count, seed, place)


def drawn(
    data: Data,
    batch_size: int,
    count: int,
    seed: int,
    place: Place = Place(),
    collate: Collate = default_collate,
) -> Batches:
    """``count`` batches drawn at random, the same on every process.

    Raises:
        DataError: there is less than one batch.
    """
    number = len(data)  # type: ignore[arg-type]
    if number < batch_size:
        raise DataError(f"got {number} samples for a batch of {batch_size}; lower batch_size")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(number, generator=generator)[: count * batch_size].tolist()
    return _loader(
        data, place, sampler=chosen, batch_size=batch_size, drop_last=True, collate_fn=collate
    )


def to_device(
    value: Any,
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Any:
    """The tensors of a batch on a device; images (four dimensions) in a memory format."""
    if isinstance(value, Tensor):
        if value.dim() != 4:
            memory_format = torch.preserve_format
        return value.to(device, non_blocking=True, memory_format=memory_format)
    if isinstance(value, Mapping):
        return {key: to_device(part, device, memory_format) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(part, device, memory_format) for part in value)
    return value


class _Order(Sampler[tuple[int, list[int]]]):
    """For each batch of an epoch the seed of its augmentation, and the numbers of its samples."""

    def __init__(
        self, data: Data, batch_size: int, repeats: int, seeds: tuple[int, ...], place: Place
    ) -> None:
        replicas: Any = {"num_replicas": place.count, "rank": place.rank, "shuffle": True}
        if repeats > 1:
            self._sampler: Any = RepeatAugSampler(
                data, num_repeats=repeats, selected_round=0, **replicas
            )
        else:
            self._sampler = DistributedSampler(data, **replicas)
        self._batch_size, self._seeds, self._rank = batch_size, seeds, place.rank
        self.number = self.start = 0
        self.batches = len(self._sampler) // batch_size

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        epoch = (*self._seeds, self.number)
        self._sampler.set_epoch(seed_of(Use.ORDER, *epoch))
        samples = list(self._sampler)
        for batch in range(self.start, self.batches):
            first = batch * self._batch_size
            seed = seed_of(Use.AUGMENT, *epoch, batch, self._rank)
            yield seed, samples[first : first + self._batch_size]


class _Seeded(Dataset[tuple[Any, Any]]):
    """Samples that are augmented with the seed of their batch."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)  # type: ignore[arg-type]

    def __getitems__(self, batch: tuple[int, list[int]]) -> list[tuple[Any, Any]]:
        seed, numbers = batch
        set_seeds(seed)
        return [self._data[number] for number in numbers]


def _loader(data: Data, place: Place, **arguments: Any) -> DataLoader[Any]:
    return DataLoader(
        data,
        num_workers=place.workers,
        persistent_workers=place.workers > 0,
        pin_memory=place.pinned,
        **arguments,
    )


def _still_transform(form: ImageFormat) -> Any:
    return create_transform(
        form.size,
        is_training=False,
        interpolation=form.interpolation,
        mean=form.mean,
        std=form.std,
        crop_pct=form.crop,
    )


def _training_transform(form: ImageFormat, augment: AugmentSection) -> Any:
    trivial = augment.auto_augment == "ta_wide"
    jitter: Any = augment.color_jitter or None
    first, second, last = create_transform(
        form.train_size,
        is_training=True,
        train_crop_mode=augment.crop,
        scale=augment.scale,
        ratio=augment.ratio,
        hflip=augment.hflip,
        vflip=augment.vflip,
        color_jitter=jitter,
        auto_augment=None if trivial else augment.auto_augment,
        interpolation=form.interpolation,
        mean=form.mean,
        std=form.std,
        re_prob=augment.erase,
        re_mode="pixel",
        separate=True,
    )
    if trivial:
        second = TrivialAugmentWide(interpolation=InterpolationMode(form.interpolation))
    return Compose([first, second, last])


def _set_transform(images: Images, form: ImageFormat, transform: Any) -> None:
    mode = "L" if form.size[0] == 1 else "RGB"
    dataset: Any = images
    dataset.transform = Compose([partial(_in_mode, mode=mode), transform])


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image.convert(mode)
