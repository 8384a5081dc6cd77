"""Settings for every test."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# One thread: on a busy machine, threads that wait for each other take many times as long.
torch.set_num_threads(1)

# The same examples every time, and no clock: a slow machine is no bug.
settings.register_profile("subpath", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("subpath")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
