"""A saved model for the tests of this room."""

from __future__ import annotations

import shutil

import pytest
import torch

import subpath
from saved import ARGUMENTS, SIZE, small
from subpath.checkpoint import Architecture


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.manual_seed(0)
    model, directory = small(), tmp_path_factory.mktemp("saved")
    subpath.save(model, directory, Architecture("resnet18", ARGUMENTS), SIZE)
    return model, directory


@pytest.fixture
def saved(made, tmp_path):
    model, directory = made
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    return model, tmp_path
