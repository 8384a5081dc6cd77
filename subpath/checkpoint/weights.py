"""Weights files: tensors and nothing else comes out of them."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CheckpointError


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of one file: safetensors, or a PyTorch file that holds tensors alone.

    A PyTorch file may hold the state dict itself or have it under ``state_dict`` or ``model``.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"got the weights file {path}, which is not there")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen kinds for a bad file
        raise CheckpointError(
            f"got a weights file {path} that cannot be read ({_why(error)}); "
            "expected a .safetensors file, or a PyTorch file that holds tensors alone"
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not _is_state_dict(content):
        raise CheckpointError(
            f"got a file {path} that holds a {type(content).__name__} of something else; expected "
            "a state dict: names, and plain tensors with data"
        )
    return dict(content)


def _why(error: Exception) -> str:
    """In one line. What torch says of a pickle with other things in it ends in advice to run it."""
    name = type(error).__name__
    if not isinstance(error, pickle.UnpicklingError):
        return f"{name}: {error}"
    held = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"{name}: it holds {held[1]}" if held else f"{name}: it is no plain pickle"


def _is_state_dict(content: Any) -> bool:
    # A file can also describe tensors without data, sparse or quantised ones.
    return isinstance(content, Mapping) and all(
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        for name, value in content.items()
    )
