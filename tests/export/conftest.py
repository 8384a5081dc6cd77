"""A small network and its file, made once."""

from __future__ import annotations

import pytest

import toys
from onnx_files import adaptive
from subpath.adaptive.model import AdaptiveModel
from subpath.export import Exported, to_onnx


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdaptiveModel, Exported]:
    """A small ResNet and its file for all configs; neither is changed by a test."""
    model = adaptive(toys.TOYS["post-activation"])
    return model, to_onnx(model, tmp_path_factory.mktemp("small") / "small.onnx")
