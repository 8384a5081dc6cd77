"""Folders of small images whose class can be seen, and a Fashion-MNIST of noise."""

from __future__ import annotations

import gzip
import struct
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


def write_idx(path, array):
    """The format of MNIST: a magic number, the shape, the bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    with gzip.open(path.with_suffix(".gz"), "wb") as file:
        file.write(path.read_bytes())


def write_fashion_mnist(raw):
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    images = {}
    for name, count in (("train", 20), ("t10k", 8)):
        images[name] = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        write_idx(raw / f"{name}-images-idx3-ubyte", images[name])
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return images
