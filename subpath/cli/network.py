"""Networks for commands that only look at them: made without weights, with an example input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from .. import zoo
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


def example(model: nn.Module, input_size: Sequence[int] | None) -> torch.Tensor:
    """A batch of two inputs, of the size given or the one in timm's data config.

    Raises:
        ModelError: no size is known.
    """
    size = input_size or zoo.input_size(model)
    if size is None:
        raise ModelError(
            f"got a {type(model).__name__} whose input size is not known; expected --input-size "
            "C,H,W, for example --input-size 3,224,224"
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.zeros(2, *size, dtype=dtype)
