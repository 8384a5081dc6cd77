"""The networks of other libraries, and what they take. A file for each library."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ModelError
from .diffusers import DIFFUSERS
from .images import floating_type, images
from .inputs import example_inputs
from .library import Library
from .monai import MONAI
from .nn import NN
from .open_clip import OPEN_CLIP
from .pytorchcv import PYTORCHCV
from .smp import SMP
from .speechbrain import SPEECHBRAIN
from .tabular import TABULAR
from .timm import Timm, create_model, input_size, made_with, opaque_functions, recomputes
from .torch_geometric import TORCH_GEOMETRIC
from .torchvision import Torchvision
from .torchvision_tasks import TORCHVISION_TASKS
from .transformers import TRANSFORMERS
from .ultralytics import ULTRALYTICS
from .vit_pytorch import VIT_PYTORCH
from .x_transformers import X_TRANSFORMERS

__all__ = [
    "LIBRARIES",
    "Library",
    "create_model",
    "example_inputs",
    "floating_type",
    "images",
    "input_size",
    "library",
    "made_with",
    "opaque_functions",
    "recomputes",
]

LIBRARIES: Mapping[str, Library] = {
    library.name: library
    for library in (
        Timm(),
        Torchvision(),
        TORCHVISION_TASKS,
        TRANSFORMERS,
        NN,
        SMP,
        ULTRALYTICS,
        MONAI,
        OPEN_CLIP,
        DIFFUSERS,
        VIT_PYTORCH,
        X_TRANSFORMERS,
        PYTORCHCV,
        SPEECHBRAIN,
        TORCH_GEOMETRIC,
        TABULAR,
    )
}


def library(name: str) -> Library:
    """The library called ``name``.

    Raises:
        ModelError: it is not known.
    """
    if name not in LIBRARIES:
        raise ModelError(f"got the library {name!r}; expected {', '.join(LIBRARIES)}")
    return LIBRARIES[name]
