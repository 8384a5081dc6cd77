"""Take the skippable blocks out of a network by hand, without any graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from ..graph.nested import tensors


def without_blocks(original: nn.Module, adaptive: AdaptiveModel) -> Iterator[nn.Module]:
    """The original without its skippable blocks, in each of the ways that can be tried by hand.

    The first puts a module in the place of each block that gives back its input, together with
    what else the block gives. That is not the same where a block ends with an activation, or has
    learned scales on its shortcut, which stay.
    The second keeps the blocks and sets the weights of their branches to zero, so that they add
    nothing. The third closes the gates of branches that are scaled by the sigmoid of a weight.

    Args:
        original: a network; it is not changed.
        adaptive: what it was converted to; tells the skippable blocks, and which of their weights
            the base-net uses all the same.
    """
    blocks = [block for stage in adaptive.stages for block in stage.skippable]
    replaced = copy.deepcopy(original)
    try:
        for block in blocks:
            replaced.set_submodule(block, _Passed(replaced.get_submodule(block)), strict=True)
    except (AttributeError, ValueError):  # the block is no module, but a part of one
        pass
    else:
        yield replaced
    kept = {n for n, _ in adaptive.subnet("T" * len(adaptive.stages)).named_parameters()}
    silenced, closed = copy.deepcopy(original), copy.deepcopy(original)
    gates = [p for n, p in closed.named_parameters() if n.rpartition(".")[0] in blocks]
    with torch.no_grad():
        for name, parameter in silenced.named_parameters():
            if name not in kept and any(name.startswith(f"{block}.") for block in blocks):
                parameter.zero_()
        for gate in gates:
            gate.fill_(-torch.inf)
    yield silenced
    if gates:
        yield closed


class _Passed(nn.Module):
    """Gives what a block gives, but its first input in the place of its first output."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        first = next(tensors((args, kwargs)))
        return _with_first(self.block(*args, **kwargs), first)

    def __getattr__(self, name: str) -> Any:
        """Networks ask their blocks what kind they are."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "block":
                raise
            return getattr(self.block, name)


def _with_first(output: Any, first: Tensor) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)((_with_first(output[0], first), *output[1:]))
    return first
