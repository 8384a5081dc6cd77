"""Positions and channels: what a block does to each, found by running it on a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod, sqrt
from typing import Any

import torch
from torch import fx

from .behaviour import is_normalisation, noise, real_copy
from .module_calls import Block, CallTree


def channel_dim(tree: CallTree, end: fx.Node, nodes: Iterable[fx.Node]) -> int:
    """Which dimension of a block's output holds channels, read off the weights that meet it.

    The first layer with weights in the block that takes a tensor of the output's shape tells: a
    convolution 1, a linear layer the last, a norm the dimension of its own length.

    Args:
        tree: the calls of the network.
        end: the block's output.
        nodes: everything the block computes.
    """
    residual, shape = tree.residual, tree.residual.shape(end) or ()
    last = len(shape) - 1
    for node in sorted(nodes, key=residual.order.__getitem__):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node):
            continue
        if residual.shape(source) != shape:
            continue
        for parameter in tree.modules[str(node.target)].parameters(recurse=False):
            if parameter.ndim > 1:
                return 1 if parameter.ndim > 2 else last
            fitting = [i for i in range(1, last + 1) if shape[i] == parameter.numel()]
            if len(fitting) == 1:
                return fitting[0]
    return 1 if last == 3 and shape[2] == shape[3] else last


def mixes_then_widens(tree: CallTree, blocks: Sequence[Block]) -> bool:
    """Whether all of ``blocks`` but the last mix positions, and the last is an MLP.

    After attention or a convolution, an MLP is the second part of one block.
    """
    *first, last = blocks
    return len(first) > 0 and is_mlp(tree, last) and all(mixes(tree, block) for block in first)


def is_mlp(tree: CallTree, block: Block) -> bool:
    """Whether a block acts on each position on its own, and is wider inside than outside."""
    shapes = [tree.residual.shape(node) or () for node in block.nodes]
    outside = max(prod(tree.residual.shape(end) or ()) for end in block.ends)
    return max(map(prod, shapes)) > outside and not mixes(tree, block)


def mixes(tree: CallTree, block: Block) -> bool:
    """Whether a change of one position changes the output elsewhere; norms do not count.

    ``True`` as well where the block cannot be tried, or has one position alone.
    """
    path = block.paths[0]
    shape = tree.residual.shape(path.start)
    if shape is None or shape != tree.residual.shape(path.end):
        return True
    channels = channel_dim(tree, path.end, block.nodes)
    place = tuple(slice(None) if i in (0, channels) else n // 2 for i, n in enumerate(shape))
    before = noise(shape)
    after = before.clone()
    after[place] += 1.0
    trial = _Trial(tree, block)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            changed = trial.value_at(path.end, {path.start: before}) != trial.value_at(
                path.end, {path.start: after}
            )
    except Exception:  # parts of a stranger's network may need more than numbers
        return True
    there = changed[place].clone()
    changed[place] = False
    return not bool(there.any()) or bool(changed.any()) or changed.numel() == there.numel()


def _weights(shape: tuple[int, ...]) -> torch.Tensor:
    """Random weights that leave the size of the numbers: no softmax or sigmoid is saturated."""
    return noise(shape) / sqrt(max(1, prod(shape[1:])))


class _Trial(fx.Interpreter):
    """Runs the nodes of one block with small random weights, without its norms."""

    def __init__(self, tree: CallTree, block: Block) -> None:
        traced = tree.residual.traced
        super().__init__(tree.modules[""], garbage_collect_values=False, graph=traced.graph)
        self._tree = tree
        self._inner = sorted(block.nodes, key=tree.residual.order.__getitem__)

    def value_at(self, end: fx.Node, streams: dict[fx.Node, torch.Tensor]) -> torch.Tensor:
        """The block's value at ``end`` for some of the values that flow in; others are noise."""
        self.env = {node: value.clone() for node, value in streams.items()}
        for node in self._inner:
            for parent in node.all_input_nodes:
                if parent not in self.env:
                    self.env[parent] = self._from_outside(parent)
            self.env[node] = self.run_node(node)
        value: torch.Tensor = self.env[end]
        return value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self._tree.modules[str(target)]
        if is_normalisation(module):
            return args[0]
        return real_copy(module, _weights).float().eval()(*args, **kwargs)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        constant = self._tree.residual.traced.constants.get(str(target))
        if constant is not None:
            return constant
        value = super().get_attr(target, args, kwargs)
        if value.is_floating_point():
            return _weights(value.shape)
        return torch.zeros_like(value, device="cpu")

    def _from_outside(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return self.run_node(node)
        fact = self._tree.residual.traced.facts[node]
        tensors = tuple(map(noise, fact.shapes))
        if not tensors:
            return fact.value
        return tensors if len(tensors) > 1 else tensors[0]
