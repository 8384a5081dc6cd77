"""Images with a class for each pixel, from two folders; both are cropped and flipped together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from ...errors import DataError
from ..section import Pair, Positive, Section, Share

IGNORED = 255  # in masks, as published data sets have it: a pixel that counts nowhere
KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


class MasksSection(Section):
    """What is learned from: ``ROOT/<split>/images`` and, of the same names, ``ROOT/<split>/masks``.

    A mask is an image of one channel (or a palette) whose values are classes; 255 counts nowhere.
    """

    root: str
    train_split: str = "train"
    validation_split: str = "validation"
    num_classes: Annotated[int, Field(gt=1)]
    """The background is one of them."""
    input_size: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
    """Channels (1 or 3), height, width. Validation images and masks are resized to it."""
    mean: Annotated[tuple[float, ...], Field(strict=False)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[float, ...], Field(strict=False)] = (0.229, 0.224, 0.225)
    scale: Pair = (0.5, 1.0)
    """While training: random resized crop, share of the area."""
    hflip: Share = 0.5
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data; 0 loads in the main process."""


class MaskedImages(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of an image ``(channels, rows, columns)`` and its classes ``(rows, columns)``.

    Args:
        section: the recipe's ``data``.
        split: a folder under its root.
        augmented: crop and flip at random.

    Raises:
        DataError: a folder is empty, or an image has no mask.
    """

    def __init__(self, section: MasksSection, split: str, augmented: bool) -> None:
        self._section, self._augmented = section, augmented
        self._pairs = _pairs(Path(section.root) / split)
        self._transform = _transform(section, augmented)

    def unaugmented(self) -> MaskedImages:
        """The same, not augmented."""
        same = object.__new__(MaskedImages)
        vars(same).update(vars(self), _transform=_transform(self._section, False))
        return same

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, mask_path = self._pairs[index]
        with Image.open(image_path) as image, Image.open(mask_path) as mask:
            pixels = image.convert("L" if self._section.input_size[0] == 1 else "RGB")
            if mask.mode not in ("L", "P") or mask.size != pixels.size:
                raise DataError(
                    f"got the mask {mask_path} of mode {mask.mode} and size {mask.size}; expected "
                    f"one channel of classes (mode L or P), of its image's size {pixels.size}"
                )
            classes = tv_tensors.Mask(v2.functional.pil_to_tensor(mask)[0])
            image_tensor = tv_tensors.Image(v2.functional.pil_to_tensor(pixels))
        found, wanted = self._transform(image_tensor, classes)
        wanted = wanted.as_subclass(torch.Tensor).long()
        if (wrong := wanted[(wanted >= self._section.num_classes) & (wanted != IGNORED)]).numel():
            raise DataError(
                f"got the class {int(wrong[0])} in {mask_path}; expected 0 to "
                f"{self._section.num_classes - 1}, or {IGNORED} for pixels that count nowhere"
            )
        return found.as_subclass(torch.Tensor), wanted


def _transform(section: MasksSection, augmented: bool) -> Any:
    size = list(section.input_size[1:])
    first = (
        [v2.RandomResizedCrop(size, scale=section.scale), v2.RandomHorizontalFlip(section.hflip)]
        if augmented
        else [v2.Resize(size)]
    )
    channels = section.input_size[0]
    mean, std = list(section.mean)[:channels], list(section.std)[:channels]
    numbers = {tv_tensors.Image: torch.float32, "others": None}
    return v2.Compose([*first, v2.ToDtype(numbers, scale=True), v2.Normalize(mean, std)])


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    images = {p.stem: p for p in _images(folder / "images")}
    masks = {p.stem: p for p in _images(folder / "masks")}
    if not images:
        raise DataError(
            f"got no images in {folder / 'images'}; expected image files there, and in "
            f"{folder / 'masks'} one mask of the same name for each"
        )
    alone = sorted(images.keys() - masks.keys())
    if alone:
        raise DataError(
            f"got {len(alone)} images without a mask in {folder / 'masks'}, such as "
            f"{images[alone[0]].name}; expected one of the same name for each"
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _images(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if path.suffix.lower() in KINDS]
