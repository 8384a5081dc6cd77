"""Take the skippable blocks out of a network by hand, without any graph."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from ..errors import SubpathError
from ..graph.behaviour import is_normalisation
from ..graph.nested import tensors


def without_blocks(original: nn.Module, adaptive: AdaptiveModel) -> Iterator[nn.Module]:
    """The original without its skippable blocks, in each of the ways that can be tried by hand.

    The first puts a module in the place of each block that gives back its input, together with
    what else the block gives. That is not the same where a block ends with an activation, or has
    learned scales on its shortcut, which stay. The second takes the blocks out of the lists that
    hold them.
    The third keeps the blocks and sets the weights of their branches to zero, so that they add
    nothing; the fourth takes their norms out as well, which may follow the addition. The fifth
    closes the gates of branches that are scaled by the sigmoid of a weight.

    Args:
        original: a network; it is not changed. Each copy is good for one call.
        adaptive: what it was converted to; tells the skippable blocks, and which of their weights
            the base-net uses all the same.
    """
    blocks = [block for stage in adaptive.stages for block in stage.skippable]
    for way in (_with_stand_ins, _with_shorter_lists):
        with suppress(AttributeError, ValueError):  # the block is no module, but parts of one
            yield way(copy.deepcopy(original), blocks, adaptive)
    kept = _kept(adaptive)
    if kept is None:  # they are used elsewhere too
        return
    yield _silenced(original, kept)
    yield _without_norms(_silenced(original, kept), kept)
    closed = copy.deepcopy(original)
    gates = [p for n, p in closed.named_parameters() if n.rpartition(".")[0] in blocks]
    if gates:
        with torch.no_grad():
            for gate in gates:
                gate.fill_(-torch.inf)
        yield closed


def _silenced(original: nn.Module, kept: Collection[str]) -> nn.Module:
    model = copy.deepcopy(original)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in kept and not name.endswith("original1"):  # a direction has a length
                parameter.zero_()
    return model


def _without_norms(model: nn.Module, kept: Collection[str]) -> nn.Module:
    for path, module in list(model.named_modules()):
        names = [f"{path}.{name}" for name, _ in module.named_parameters()]
        if names and not any(name in kept for name in names) and is_normalisation(module):
            model.set_submodule(path, nn.Identity())
    return model


def _with_stand_ins(model: nn.Module, blocks: Sequence[str], _: AdaptiveModel) -> nn.Module:
    calls: dict[str, list[int]] = defaultdict(list)
    for block in blocks:
        path, again, number = block.partition("#")
        calls[path].append(int(number) if again else 1)
    for path, numbers in calls.items():
        model.set_submodule(path, _Passed(model.get_submodule(path), numbers), strict=True)
    return model


def _with_shorter_lists(
    model: nn.Module, blocks: Sequence[str], adaptive: AdaptiveModel
) -> nn.Module:
    """A block may be several items: attention, MLP."""
    items = set(blocks)
    for part in adaptive.plan.hands_back:
        holder = part.block.rpartition(".")[0]
        if holder and part.path.startswith(f"{holder}."):
            items.add(f"{holder}.{part.path.removeprefix(f'{holder}.').partition('.')[0]}")
    holders: dict[str, set[str]] = defaultdict(set)
    for item in items:
        holder, _, name = item.rpartition(".")
        holders[holder].add(name)
    for path, names in holders.items():
        whole = model.get_submodule(path)
        if not isinstance(whole, nn.ModuleList):
            raise ValueError(f"{path} is no list")
        left = (child for name, child in whole.named_children() if name not in names)
        model.set_submodule(path, nn.ModuleList(left), strict=True)
    return model


def _kept(adaptive: AdaptiveModel) -> set[str] | None:
    """Names of the parameters of the original that the base-net uses, or that have twins."""
    try:
        base = adaptive.subnet("T" * len(adaptive.stages))
    except SubpathError:  # one block is called several times
        return None
    twins = tuple(f"{twin.path}." for twin in adaptive.plan.twin_norms)
    names = (n for n, _ in adaptive.named_parameters() if n.startswith(twins)) if twins else ()
    return {*names, *(name for name, _ in base.named_parameters())}


class _Passed(nn.Module):
    """Gives what a block gives, but in some of its calls its first input for its first output."""

    def __init__(self, block: nn.Module, numbers: Sequence[int]) -> None:
        super().__init__()
        self.block, self.numbers, self.calls = block, numbers, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        first = next(tensors((args, kwargs)))
        output = self.block(*args, **kwargs)
        return _with_first(output, first) if self.calls in self.numbers else output

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
