"""What is compared of two networks: outputs, and what a training step does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..graph.equality import unequal
from ..graph.inputs import Inputs
from ..graph.nested import tensors
from .running import run

__all__ = ["step", "tensors_of", "unequal"]


def step(model: nn.Module, inputs: Inputs, **arguments: Any) -> dict[str, Tensor]:
    """One training pass from a fixed seed: loss, buffers and gradients by name.

    The model is in eval mode before and after, and keeps its buffers.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    try:
        outputs = tensors_of(run(model, inputs, **arguments))
        loss = torch.stack([out.float().square().mean() for out in outputs]).sum()
        loss.backward()
        found = {"loss": loss.detach()}
        found |= {f"buffer {n}": buffer.clone() for n, buffer in model.named_buffers()}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"gradient of {name}"] = parameter.grad
    finally:  # the next question is asked of the same model
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        model.eval().zero_grad()
    return found


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of floating-point numbers in a nested output, but for empty ones."""
    return [found for found in tensors(output) if found.is_floating_point() and found.numel()]
