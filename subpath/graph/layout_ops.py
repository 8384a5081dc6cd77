"""Nodes that only move elements: view, permute, roll, split, concatenate.

They are found by trying them on numbered elements, and so is what a chain of them does as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map_only

from .facts import Fact
from .tensors import tensors_in


class LayoutOps:
    """Tells which nodes of a traced graph move elements, and where to."""

    def __init__(self, facts: Mapping[fx.Node, Fact], modules: Mapping[str, nn.Module]) -> None:
        self._facts = facts
        self._modules = modules
        self._known: dict[object, bool] = {}

    def is_one(self, node: fx.Node) -> bool:
        """Whether each element that ``node`` gives is one of those it takes, by place alone."""
        question = self._question(node)
        if question not in self._known:
            self._known[question] = self._try(node)
        return self._known[question]

    def apply(self, node: fx.Node, elements: Mapping[fx.Node, Any]) -> Any:
        """The elements that ``node`` gives, for the elements that its parents hold.

        Args:
            node: one for which :meth:`is_one` holds.
            elements: for each parent that holds tensors, integers in the same shapes.
        """

        def value(parent: fx.Node) -> Any:
            return elements[parent] if self._facts[parent].shapes else self._facts[parent].value

        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), value)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        function = self._modules[str(node.target)] if node.op == "call_module" else node.target
        assert callable(function)
        return function(*args, **kwargs)

    def _try(self, node: fx.Node) -> bool:
        """Whether other numbers for the elements give the same with those numbers, and no more."""
        parents = [parent for parent in node.all_input_nodes if self._facts[parent].shapes]
        shapes = [self._facts[parent].shapes for parent in parents]
        if not node.op.startswith("call_") or not parents or not self._facts[node].shapes:
            return False
        if self._facts[node].macs:  # it multiplies; with integers that would take seconds
            return False
        if node.op == "call_module" and _has_tensors(self._modules[str(node.target)]):
            return False
        elements = dict(zip(parents, numbered(shapes), strict=True))
        others = {parent: _renumber(value) for parent, value in elements.items()}
        try:
            moved = list(tensors_in(self.apply(node, elements)))
            if any(tensor.is_meta for tensor in moved):
                return False
            same = list(tensors_in(self.apply(node, others)))
            expected = [_renumber(tensor) for tensor in moved]
        except Exception:  # it computes with the values: no mere movement
            return False
        return all(
            one.dtype == torch.int64 and torch.equal(one, two)
            for one, two in zip(same, expected, strict=True)
        )

    def _question(self, node: fx.Node) -> object:
        """All that the answer depends on: equal calls on equal shapes are tried once."""
        if node.op == "call_module":
            return node

        def described(parent: fx.Node) -> str:
            fact = self._facts[parent]
            return f"tensors {fact.shapes}" if fact.shapes else repr(fact.value)

        arguments = fx.node.map_arg((node.args, dict(node.kwargs)), described)
        return node.op, node.target, str(arguments)


def numbered(values: Iterable[tuple[tuple[int, ...], ...]]) -> list[Any]:
    """A different integer for each element of some values, given the shapes of their tensors.

    There are negative ones too: a ReLU moves nothing.
    """
    values = list(values)
    sizes = [torch.Size(shape).numel() for shapes in values for shape in shapes]
    count = sum(sizes)
    parts = iter(torch.arange(-(count // 2), count - count // 2, device="cpu").split(sizes))
    tensors = [[next(parts).reshape(shape) for shape in shapes] for shapes in values]
    return [tuple(several) if len(several) > 1 else several[0] for several in tensors]


def _renumber(value: Any) -> Any:
    """Another number for each number, not in the same order of size."""
    return tree_map_only(torch.Tensor, lambda tensor: tensor ^ 0b101_0101_0101, value)


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))
