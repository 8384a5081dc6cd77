"""Images for any network that takes nothing else."""

from __future__ import annotations

import torch
from torch import nn

from ..graph.inputs import Inputs

USUAL = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def images(model: nn.Module, size: tuple[int, ...]) -> Inputs:
    """A batch of two of one positional input of this size, as noise, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *size, generator=generator, device="cpu")
    return Inputs((noise.to(floating_type(model)),))


def floating_type(model: nn.Module) -> torch.dtype:
    """The type that a model expects of floating inputs: that of its weights."""
    return next((p.dtype for p in model.parameters() if p.dtype in USUAL), torch.float32)
