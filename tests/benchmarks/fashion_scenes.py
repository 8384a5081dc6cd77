"""Scenes of Fashion-MNIST's garments on canvases, with masks and boxes, for segmentation.

    apt-get install dataset-fashion-mnist
    python tests/benchmarks/fashion_scenes.py DIR

Writes ``DIR/train`` (from the training images) and ``DIR/validation`` (from the others), each with
``images/``, ``masks/`` (0 is background, 1 to 10 are the garments) and ``instances.json``, boxes in
COCO's form. Which garment lies where depends on the seed alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from subpath.finetune.array_datasets import DEBIAN, read_idx

NAMES = [
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Boot",
]
FILES = {"train": "train", "validation": "t10k"}
SEEN = 24  # a garment's pixels that are lighter than this


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, default=DEBIAN, help="the four IDX files, gzipped")
    parser.add_argument("--train", type=int, default=1600)
    parser.add_argument("--validation", type=int, default=200)
    parser.add_argument("--size", type=int, default=64, help="of a canvas, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for number, (split, name) in enumerate(FILES.items()):
        garments = read_idx(options.source / f"{name}-images-idx3-ubyte.gz")
        labels = read_idx(options.source / f"{name}-labels-idx1-ubyte.gz")
        random = np.random.default_rng([options.seed, number])
        write(
            options.folder / split, getattr(options, split), options.size, garments, labels, random
        )


def write(
    folder: Path,
    count: int,
    size: int,
    garments: NDArray[Any],
    labels: NDArray[Any],
    random: np.random.Generator,
) -> None:
    """``count`` scenes, numbered."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images, boxes = [], []
    for number in range(count):
        canvas, mask, instances = scene(size, garments, labels, random)
        name = f"{number:05d}.png"
        Image.fromarray(canvas).save(folder / "images" / name)
        Image.fromarray(mask).save(folder / "masks" / name)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        boxes += [{"image_id": number, "iscrowd": 0, **instance} for instance in instances]
    document = {
        "images": images,
        "annotations": [{"id": n, **box} for n, box in enumerate(boxes, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES, 1)],
    }
    (folder / "instances.json").write_text(json.dumps(document))


def scene(
    size: int, garments: NDArray[Any], labels: NDArray[Any], random: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
    """Two to four garments on an uneven ground; later ones lie on earlier ones.

    Returns:
        The canvas, its mask, and the box and class of each garment of which enough can be seen.
    """
    coarse = random.uniform(0, 90, (4, 4)).astype(np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    canvas = (ground + random.normal(0, 6, (size, size))).clip(0, 255)
    owner = np.zeros((size, size), np.int64)
    classes: dict[int, int] = {}
    for number in range(1, int(random.integers(2, 5)) + 1):
        which = int(random.integers(len(garments)))
        side = int(random.integers(5 * size // 16, size // 2 + 1))
        small = Image.fromarray(garments[which]).resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(small, dtype=np.float64)
        top, left = (int(random.integers(size - side + 1)) for _ in range(2))
        there = np.s_[top : top + side, left : left + side]
        seen = pixels > SEEN
        canvas[there] = np.where(seen, pixels, canvas[there])
        owner[there] = np.where(seen, number, owner[there])
        classes[number] = int(labels[which]) + 1
    mask = np.zeros((size, size), np.uint8)
    instances = []
    for number, label in classes.items():
        rows, columns = np.nonzero(owner == number)
        mask[rows, columns] = label
        if len(rows) < 40:
            continue
        left, top = int(columns.min()), int(rows.min())
        wide, high = int(columns.max()) - left + 1, int(rows.max()) - top + 1
        box = {"bbox": [left, top, wide, high], "area": len(rows), "category_id": label}
        instances.append(box)
    return canvas.astype(np.uint8), mask, instances


if __name__ == "__main__":
    main()
