"""Images with boxes, described by a JSON file in COCO's form."""

from __future__ import annotations

import json
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
from ..section import Positive, Section, Share


class BoxesSection(Section):
    """What is learned from: folders of images, and a file in COCO's form (instances) for each."""

    root: str
    train_images: str = "train/images"
    """Folders and files are given below the root. COCO's are ``train2017``, ``val2017``,
    ``annotations/instances_train2017.json`` and ``annotations/instances_val2017.json``."""
    train_annotations: str = "train/instances.json"
    validation_images: str = "validation/images"
    validation_annotations: str = "validation/instances.json"
    example_size: Annotated[tuple[Positive, Positive], Field(strict=False)] = (480, 640)
    """Height and width of the image that multiply-adds are counted for; images keep their own
    size, and the detector resizes them."""
    hflip: Share = 0.5
    """While training."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data; 0 loads in the main process."""


class Pictures(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Pairs of an image, ``(3, rows, columns)`` from 0 to 1, and what is to be found in it.

    That is a dict as torchvision's detectors take it: ``boxes`` ``(objects, 4)``, the corners left,
    top, right, bottom in pixels; ``labels``, the categories' numbers in the file; and ``image``,
    the number of the image, ``crowd`` and ``area`` for the metric.

    Args:
        section: the recipe's ``data``.
        images: the folder, below its root.
        annotations: the file, below its root.
        training: flip at random, and leave out boxes without area and those of crowds, as
            torchvision does.

    Raises:
        DataError: files are missing, or the description is not as expected.
    """

    def __init__(
        self, section: BoxesSection, images: str, annotations: str, training: bool
    ) -> None:
        self._folder = Path(section.root) / images
        self._training = training
        self._flip = v2.RandomHorizontalFlip(section.hflip if training else 0.0)
        self._files, self._found, self.categories = _read(Path(section.root) / annotations)
        if not self._files or not (self._folder / self._files[0]).is_file():
            raise DataError(
                f"got no image {self._files[0] if self._files else 'at all'} in {self._folder}; "
                f"expected the {len(self._files)} images that {annotations} names. Set data.root "
                "and data.train_images or data.validation_images"
            )

    def unaugmented(self) -> Pictures:
        """The same, not flipped."""
        same = object.__new__(Pictures)
        vars(same).update(vars(self), _flip=v2.RandomHorizontalFlip(0.0))
        return same

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        path, objects = self._folder / self._files[index], self._found[index]
        try:
            with Image.open(path) as image:
                pixels = tv_tensors.Image(v2.functional.pil_to_tensor(image.convert("RGB")))
        except OSError as error:
            raise DataError(f"got the image {path}, which cannot be read ({error})") from error
        if self._training:
            objects = objects[(objects[:, :2] < objects[:, 2:4]).all(1) & (objects[:, 5] == 0)]
        corners: Any = tv_tensors.BoundingBoxes(
            objects[:, :4],
            format="XYXY",
            canvas_size=pixels.shape[-2:],
        )
        pixels, corners = self._flip(pixels, corners)
        return pixels.as_subclass(torch.Tensor) / 255, {
            "boxes": corners.as_subclass(torch.Tensor),
            "labels": objects[:, 4].long(),
            "crowd": objects[:, 5].long(),
            "area": objects[:, 6],
            "image": torch.tensor(index),
        }


def together(pairs: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[dict[str, Any], Any]:
    """A batch: what a detector takes by name, and the targets once more for the metric."""
    images, targets = (list(part) for part in zip(*pairs, strict=True))
    return {"images": images, "targets": targets}, targets


def _read(path: Path) -> tuple[list[str], list[Tensor], dict[int, str]]:
    """Names of files, their objects (corners, category, crowd, area), and names of categories."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"got no annotations {path} ({error}); expected a file in COCO's form. COCO itself is "
            "at cocodataset.org; nothing is downloaded here"
        ) from error
    except ValueError as error:
        raise DataError(f"got {path}, which is not JSON ({error})") from error
    try:
        files = {int(image["id"]): str(image["file_name"]) for image in document["images"]}
        names = {int(c["id"]): str(c["name"]) for c in document["categories"]}
        objects: dict[int, list[list[float]]] = {number: [] for number in files}
        for annotation in document["annotations"]:
            left, top, width, height = (float(number) for number in annotation["bbox"])
            category, crowd = int(annotation["category_id"]), int(annotation.get("iscrowd", 0))
            row = [left, top, left + width, top + height, category, crowd]
            if category not in names:
                raise ValueError(f"an object of the category {category}, which has no name")
            area = float(annotation.get("area", width * height))
            objects[int(annotation["image_id"])].append([*row, area])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"got {path} with something else than COCO's instances ({type(error).__name__}: "
            f"{error}); expected images (id, file_name), categories (id, name) and annotations "
            "(image_id, category_id, bbox: [left, top, width, height])"
        ) from error
    if not names or min(names) < 1:
        raise DataError(
            f"got the categories {sorted(names)[:4]} in {path}; expected numbers from 1 on, as 0 "
            "is the background of torchvision's detectors"
        )
    tensors = [torch.tensor(rows, dtype=torch.float32).view(-1, 7) for rows in objects.values()]
    return list(files.values()), tensors, names
