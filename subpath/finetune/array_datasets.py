"""Two small data sets that are kept in memory: scikit-learn's digits and Fashion-MNIST."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ..errors import DataError

# Where the Debian package dataset-fashion-mnist puts its files.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train", "validation": "t10k"}


class Pictures(Dataset[tuple[Any, int]]):
    """Grey images in an array.

    Args:
        pixels: ``(images, height, width)``, bytes.
        labels: one for each image.
    """

    def __init__(self, pixels: NDArray[Any], labels: Sequence[int]) -> None:
        self._pixels = pixels
        self.targets = [int(label) for label in labels]
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self._pixels[index])
        return (self.transform(image) if self.transform else image), self.targets[index]


def digits() -> Pictures:
    """scikit-learn's 1,797 scanned digits of 8 x 8 pixels.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "got the data set digits, but scikit-learn is not installed; expected "
            "pip install 'subpath[quickstart]'"
        ) from error
    data = load_digits()
    pixels: NDArray[Any] = data.images * (255 / 16)
    return Pictures(pixels.round().astype(np.uint8), data.target)


def fashion_mnist(root: str | None, download: bool) -> tuple[Pictures, Pictures]:
    """Zalando's 60,000 training images and 10,000 others, 28 x 28 pixels, ten classes.

    Args:
        root: a directory with the four IDX files (also gzipped), or in which torchvision keeps
            them; default: where Debian's package puts them.
        download: let torchvision download them into ``root`` if they are not there.

    Raises:
        DataError: the files are not there, or damaged.
    """
    places = [DEBIAN] if root is None else [Path(root), Path(root) / "FashionMNIST" / "raw"]
    if root is not None and download and not any(_find(place) for place in places):
        from torchvision.datasets import FashionMNIST

        try:
            FashionMNIST(root, download=True)
        except Exception as error:  # networks and disks fail in many ways
            raise DataError(
                f"got an error while downloading Fashion-MNIST into {root} ({error})"
            ) from error
    for place in places:
        files = _find(place)
        if files is not None:
            return files["train"], files["validation"]
    raise DataError(
        f"got no Fashion-MNIST in {' or '.join(map(str, places))}; expected "
        "train-images-idx3-ubyte and three more files, also with .gz. Install them "
        "(apt-get install dataset-fashion-mnist), or set data.root, with data.download: true to "
        "download them there"
    )


def _find(place: Path) -> dict[str, Pictures] | None:
    found = {}
    for part, name in FILES.items():
        images = _existing(place / f"{name}-images-idx3-ubyte")
        labels = _existing(place / f"{name}-labels-idx1-ubyte")
        if images is None or labels is None:
            return None
        pixels, targets = read_idx(images), read_idx(labels)
        if pixels.ndim != 3 or pixels.shape[:1] != targets.shape:
            raise DataError(f"got {pixels.shape} images in {images} and {targets.shape} labels")
        found[part] = Pictures(pixels, targets.tolist())
    return found


def _existing(path: Path) -> Path | None:
    packed = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else packed if packed.is_file() else None


def read_idx(path: Path) -> NDArray[Any]:
    """An array of bytes in the IDX format: a magic number, the shape, the bytes.

    Raises:
        DataError: the file holds something else.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, dimensions = data[:2], data[2], data[3]
        shape = np.frombuffer(data, ">u4", dimensions, offset=4)
        if zeros != b"\0\0" or kind != 8:
            raise ValueError("no IDX file of bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"got {path}, which cannot be read ({error}); copy it again") from error
