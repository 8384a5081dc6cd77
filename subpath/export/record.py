"""What an export made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUNTIME = "runtime"
"""Instead of a skip config: all of them, chosen by an input of the file."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of an exported file.

    Attributes:
        name: to give it or to ask for it by.
        dtype: ``"float32"`` or ``"bool"``, for example.
        shape: numbers, or the name of a dimension that is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Exported:
    """A file that was written and found to compute what torch computes.

    Attributes:
        path: the file.
        format: ``"onnx"`` or ``"torch"``.
        skip: the config in it, or ``"runtime"`` for all of them.
        inputs: in order.
        outputs: in order.
        size: of the file, in bytes.
        difference: the largest absolute difference to torch that was found, in float32.
        checked: the configs that were run to find it.
    """

    path: Path
    format: str
    skip: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    size: int
    difference: float
    checked: tuple[str, ...]
