"""A folder of small images whose class can be seen, and a recipe that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pictures import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root / "train", 12, seed=0)
    write_images(root / "validation", 5, seed=1)
    return root


@pytest.fixture
def recipe(images) -> dict:
    return {
        "name": "tiny",
        "device": "cpu",
        "model": {"name": "resnet18", "arguments": {"channels": [8, 8, 8, 8]}},
        "data": {
            "name": "folder",
            "root": str(images),
            "input_size": [3, 32, 32],
            "augment": {"scale": [0.5, 1.0]},
        },
        "train": {"epochs": 1, "batch_size": 6},
        "finetune": {"epochs": 2, "batch_size": 6},
    }
