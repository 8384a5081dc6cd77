"""Example inputs: as they are given, or as the network itself tells."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import ModelError
from ..graph.inputs import Inputs, as_inputs
from .huggingface import default_inputs
from .images import images
from .timm import input_size


def example_inputs(model: nn.Module, given: Any = None) -> Inputs:
    """The inputs to read a model with: those given, else what its own config tells.

    Args:
        model: the network.
        given: a tensor, a tuple of all positional inputs, a dict of keyword arguments, or nothing.

    Raises:
        ModelError: nothing is given, and the model is none of timm's or transformers', or needs
            more than its config tells.
    """
    if given is not None:
        return as_inputs(model, given)
    size = input_size(model)
    if size is not None:
        return images(model, size)
    inputs = default_inputs(model)
    if inputs is None:
        raise ModelError(
            f"got a {type(model).__name__} without the config of a timm or transformers model and "
            "no example_input; expected example_input=torch.zeros(2, 3, height, width), or a tuple "
            "or a dict of tensors, as the model takes them"
        )
    return inputs
