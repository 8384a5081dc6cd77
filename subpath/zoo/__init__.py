"""The networks of other libraries, and what they take. A file for each library."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ModelError
from .inputs import example_inputs
from .library import Library
from .nn import NN
from .smp import SMP
from .timm import Timm, create_model, input_size, made_with, opaque_functions, recomputes
from .torchvision import Torchvision
from .transformers import TRANSFORMERS
from .vit_pytorch import VIT_PYTORCH

__all__ = [
    "LIBRARIES",
    "Library",
    "create_model",
    "example_inputs",
    "input_size",
    "library",
    "made_with",
    "opaque_functions",
    "recomputes",
]

LIBRARIES: Mapping[str, Library] = {
    library.name: library for library in (Timm(), Torchvision(), TRANSFORMERS, NN, SMP, VIT_PYTORCH)
}


def library(name: str) -> Library:
    """The library called ``name``.

    Raises:
        ModelError: it is not known.
    """
    if name not in LIBRARIES:
        raise ModelError(f"got the library {name!r}; expected {', '.join(LIBRARIES)}")
    return LIBRARIES[name]
