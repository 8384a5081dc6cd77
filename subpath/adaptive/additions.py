"""Additions: low-rank changes of mandatory layers' weights, in effect where a stage is skipped."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import fx, nn

from ..errors import ConversionError, PlanError
from ..graph.behaviour import is_linear_in_weight, with_weight
from ..planning import Addition
from .module_paths import addition_path
from .patches import CONVOLUTIONS
from .twins import put

_HOME = "additions"


class LowRankAddition(nn.Module):
    """What a change ``B @ A`` of a layer's weight adds to the layer's output (Hu et al., LoRA).

    ``A`` starts at random and ``B`` at zero, so a fresh one adds nothing.

    Attributes:
        down: the layer with the weight ``A``, of ``rank`` outputs, and without a bias.
        up: the weight ``B``, ``(outputs, rank)``, as a linear map over channels.
    """

    def __init__(self, layer: Any, rank: int) -> None:
        super().__init__()
        weight = layer.weight
        outputs, fan_in = weight.shape[0], weight[0].numel()
        kind: Any = CONVOLUTIONS.get(weight.ndim, nn.Linear)
        size = (1,) * (weight.ndim > 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            down = torch.randn(rank, fan_in) / fan_in**0.5
            self.up = kind(rank, outputs, *size, bias=False).to(weight)
        self.down = with_weight(
            layer, nn.Parameter(down.to(weight).reshape(rank, *weight.shape[1:]))
        )
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The layer's ``output`` for ``x``, with what the change adds."""
        added: torch.Tensor = self.up(self.down(x))
        return output + added

    def change(self) -> torch.Tensor:
        """What is added to the layer's weight, in its shape."""
        down: Any = self.down.weight
        up: Any = self.up.weight
        change: torch.Tensor = up.flatten(1) @ down.flatten(1)
        return change.reshape(len(up), *down.shape[1:])


def has_place(root: nn.Module, addition: Addition) -> bool:
    """Whether ``root`` has a layer for the addition."""
    try:
        layer: Any = root.get_submodule(addition.path)
    except AttributeError:
        return False
    if not is_linear_in_weight(layer):
        return False
    return len(layer.weight) == addition.channels and addition.rank <= layer.weight[0].numel()


def add_additions(root: nn.Module, additions: Iterable[Addition]) -> None:
    """Put a fresh addition for each into ``root``.

    Raises:
        ConversionError: ``root`` has something else of that name.
        PlanError: there is no such layer.
    """
    additions = tuple(additions)
    wrong = [addition.path for addition in additions if not has_place(root, addition)]
    if wrong:
        raise PlanError(
            f"got a plan with additions for {', '.join(wrong[:6])}; expected linear layers and "
            "convolutions that this network has, of as many channels"
        )
    if additions and hasattr(root, _HOME):
        raise ConversionError(
            f"got a {type(root).__name__} with an attribute {_HOME!r}; expected that name to be "
            "free. Rename it, or convert with low_rank=0"
        )
    for addition in additions:
        put(root, addition_path(addition), fresh_addition(root, addition))


def fresh_addition(root: nn.Module, addition: Addition) -> nn.Module:
    """One that adds nothing yet, for the layer that ``root`` has."""
    return LowRankAddition(root.get_submodule(addition.path), addition.rank)


def merged(layer: nn.Module, addition: nn.Module) -> nn.Module:
    """A layer of its own that has the addition in its weight."""
    assert isinstance(addition, LowRankAddition)
    weight: Any = layer.weight
    with torch.no_grad():
        changed = nn.Parameter(weight + addition.change(), weight.requires_grad)
    own = copy.copy(layer)
    vars(own)["_parameters"] = {**layer._parameters, "weight": changed}
    return own


def merge(root: nn.Module, graph: fx.Graph, additions: Sequence[Addition]) -> dict[str, nn.Module]:
    """Take the additions out of a straight-line graph over ``root``.

    Returns:
        By its path, for each layer that had one, a layer with another weight.
    """
    paths = {addition_path(addition): addition.path for addition in additions}
    found: dict[str, nn.Module] = {}
    for node in graph.find_nodes(op="call_module"):
        path = paths.get(str(node.target))
        if path is not None:
            if path not in found:
                addition = root.get_submodule(str(node.target))
                found[path] = merged(root.get_submodule(path), addition)
            node.replace_all_uses_with(node.args[1])
            graph.erase_node(node)
    return found
