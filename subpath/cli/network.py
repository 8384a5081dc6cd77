"""Networks for commands that only look at them: made without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from ..errors import MeasureError, ModelError, TraceError

Result = TypeVar("Result")


def without_weights(make: Callable[[], nn.Module], use: Callable[[nn.Module], Result]) -> Result:
    """``use(make())`` on the meta device, or with real weights if the network does not allow it.

    Networks without data are made and traced quickly whatever their size, but some compute with
    values while they are made or run.
    """
    try:
        with torch.device("meta"):
            model = make()
        return use(model)
    except (ModelError, TraceError, MeasureError):
        return use(make())
