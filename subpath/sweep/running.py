"""Call a network so that two calls can be compared: same inputs, same random draws."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..adaptive.model import AdaptiveModel
from ..convert import convert, plan
from ..graph.inputs import Inputs
from ..plan import Plan

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
