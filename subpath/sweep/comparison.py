"""Run networks so that two runs can be compared: same inputs, same random draws, one step."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..adaptive.model import AdaptiveModel
from ..conversion import convert, plan
from ..graph.inputs import Inputs
from ..graph.nested import tensors
from ..planning import Plan

SEED = 3


def run(model: nn.Module, inputs: Inputs, **arguments: Any) -> Any:
    """Call ``model`` from a fixed seed, with inputs that it may write into.

    Args:
        model: the network, in its present mode.
        inputs: stay as they are.
        **arguments: further ones, as ``skip``.
    """
    own = each_tensor(inputs, torch.Tensor.clone)
    seed_all(SEED)
    return model(*own.args, **own.kwargs, **arguments)


def seed_all(number: int) -> None:
    """Begin all random numbers anew: torch's, numpy's and Python's."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def converted(model: nn.Module, inputs: Inputs, how: Plan | None = None) -> AdaptiveModel:
    """The network, converted as a user would do it."""
    return convert(model, example(inputs), plan=how)


def planned(model: nn.Module, inputs: Inputs) -> Plan:
    """How it would be cut."""
    return plan(model, example(inputs))


def example(inputs: Inputs) -> Any:
    """The inputs in the simplest form that ``convert`` takes."""
    if inputs.args and inputs.kwargs:
        return inputs
    return dict(inputs.kwargs) if inputs.kwargs else inputs.args


def each_tensor(inputs: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """The same inputs with ``function`` of each tensor in its place."""
    args, kwargs = tree_map_only(Tensor, function, (inputs.args, dict(inputs.kwargs)))
    return Inputs(args, kwargs)


def training_step(model: nn.Module, inputs: Inputs, **arguments: Any) -> dict[str, Tensor]:
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
