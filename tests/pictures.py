"""Folders of small images whose class can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("dark", "light", "striped")


def write_images(folder: Path, count: int, seed: int, classes=CLASSES) -> None:
    random = np.random.default_rng(seed)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (32, 32, 3))
            if label == "light":
                pixels += 190
            if label == "striped":
                pixels[::4] += 190
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")
