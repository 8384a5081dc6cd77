"""Small converted networks, and ONNX Runtime as a user runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel
from subpath.export import Exported


def adaptive(toy: toys.Toy) -> AdaptiveModel:
    """A toy, converted; its twins have values of their own."""
    model = subpath.convert(toy.build(), toy.input())
    toys.randomise(model, seed=2)
    return model


def session(path: Path, profile: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(made: Exported, images: torch.Tensor, config: str) -> Mapping[str, np.ndarray]:
    """What a user gives: by the names in the record, and the letters as booleans."""
    given = {made.inputs[0].name: images.numpy()}
    return given | {"skip": np.array([letter == "T" for letter in config])}
