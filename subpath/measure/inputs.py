"""The inputs of one call: their shapes as pages name them, and more or fewer of their samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..graph.inputs import Inputs
from ..graph.signature import signature_of
from ..graph.tensors import tensors_in

InputShapes = Sequence[int] | Mapping[str, Sequence[int]]
"""Of one floating input, without the batch; else of all inputs by name, with it."""


def input_shapes(model: nn.Module, inputs: Inputs) -> InputShapes:
    """The shapes of the tensors that ``model`` is called with."""
    found = list(_named(model, inputs))
    if len(found) == 1 and found[0][1].is_floating_point():
        return list(found[0][1].shape[1:])
    return {name: list(tensor.shape) for name, tensor in found}


def shapes_in_words(shapes: InputShapes) -> str:
    """``input 3x224x224``, or ``input_ids 2x16, attention_mask 2x16``."""
    if isinstance(shapes, Mapping):
        return ", ".join(f"{name} {_times(shape)}" for name, shape in shapes.items())
    return f"input {_times(shapes)}"


def shapes_as_document(shapes: InputShapes) -> dict[str, Any]:
    """What a JSON document says of them."""
    if isinstance(shapes, Mapping):
        return {"inputs": {name: list(shape) for name, shape in shapes.items()}}
    return {"input_size": list(shapes)}


def of_batch(inputs: Inputs, batch: int) -> Inputs:
    """The same inputs with ``batch`` samples: the first ones, again and again."""
    size = next((len(tensor) for tensor in inputs.tensors() if tensor.ndim), 1)

    def repeated(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 0 or len(tensor) != size:
            return tensor
        return tensor[torch.arange(batch) % size]

    return inputs.map(repeated)


def _named(model: nn.Module, inputs: Inputs) -> Iterator[tuple[str, torch.Tensor]]:
    positional = signature_of(model.forward).bind_partial(*inputs.args).arguments
    for name, value in (*positional.items(), *inputs.kwargs.items()):
        tensors = list(tensors_in(value))
        for number, tensor in enumerate(tensors):
            yield (name if len(tensors) == 1 else f"{name}[{number}]"), tensor


def _times(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)
