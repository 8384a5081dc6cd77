"""What is compared of two networks: outputs, and what a training step does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..graph.equality import unequal

__all__ = ["step", "tensors_of", "unequal"]


def step(model: nn.Module, images: Tensor, **arguments: Any) -> dict[str, Tensor]:
    """One training pass from a fixed seed: loss, buffers and gradients by name.

    The model is in eval mode before and after, and keeps its buffers.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    torch.manual_seed(3)
    try:
        outputs = tensors_of(model(images, **arguments))
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
    """The tensors of floating-point numbers in a nested output."""
    leaves, _ = tree_flatten(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
