"""Example inputs: as they are given, or as the network itself tells."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..graph.inputs import Inputs, as_inputs
from .timm import input_size


def example_inputs(model: nn.Module, given: Any = None) -> Inputs:
    """The inputs to read a model with: those given, else an image batch from timm's data config.

    Args:
        model: the network.
        given: a tensor, a tuple of all positional inputs, a dict of keyword arguments, or nothing.

    Raises:
        ModelError: nothing is given and the model is none of timm's.
    """
    if given is not None:
        return as_inputs(model, given)
    size = input_size(model)
    if size is None:
        raise ModelError(
            f"got a {type(model).__name__} without a timm data config and no example_input; "
            "expected example_input=torch.zeros(2, 3, height, width), as the model takes it"
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return Inputs((torch.empty(2, *size, dtype=dtype),))
