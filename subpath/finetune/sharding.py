"""Weights that processes share out among them, for networks that one device cannot hold.

Each process keeps a part of every weight, of its gradient and of the optimiser's state; a block's
weights are brought together when it runs. It is torch's ``fully_shard``, which accelerate calls
too, but for accelerators alone. Nothing in the step changes: each of the two backward passes leaves
the mean of its gradients over the processes, and what a pass skips is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from ..adaptive.in_place import InPlaceModel
from ..adaptive.model import AdaptiveModel
from ..errors import RecipeError
from .processes import Processes


def shard(model: AdaptiveModel, processes: Processes) -> None:
    """Let each process keep its part of the weights, which are the same on all, on its device.

    Raises:
        RecipeError: the model does not run in place.
    """
    if not isinstance(model, InPlaceModel):
        raise RecipeError(
            "got shard: true for a network that runs from its graph, whose blocks are no calls of "
            "modules; expected one that runs in place, as those of transformers do"
        )
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for stage in model.stages:
        for block in stage.blocks:
            fully_shard(model.get_submodule(block), mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(state: Any) -> Any:
    """``state`` with the parts of each tensor brought together, on the CPU.

    All processes must call it; without parts it gives ``state`` itself.
    """
    return tree_map_only(DTensor, lambda part: part.full_tensor().cpu(), state)


def in_parts(state: Any, like: Mapping[Any, Any]) -> Any:
    """The opposite of :func:`whole`: tensors of ``state`` in parts where those of ``like`` are."""

    def part(key: Any, value: Any) -> Any:
        known = like.get(key)
        if isinstance(known, DTensor) and isinstance(value, Tensor) and value.shape == known.shape:
            placed = value.to(known.device)
            return distribute_tensor(placed, known.device_mesh, known.placements)
        return value

    return {key: part(key, value) for key, value in state.items()}


def optimiser_in_parts(state: Mapping[str, Any], optimiser: torch.optim.Optimizer) -> Any:
    """What an optimiser keeps of each weight, in parts where the weight is."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    kept = {
        number: in_parts(values, dict.fromkeys(values, weights[number]))
        for number, values in state["state"].items()
    }
    return {**state, "state": kept}
