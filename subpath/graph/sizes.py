"""What sizes are while a forward is traced, for forwards that decide by them.

``if pad_h > 0:`` or ``range(windows)`` cannot stay open in a straight-line graph. The answer is
taken from the example input, and the graph then holds for inputs of those shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from .shapes import Quickly

_ASK_FOR_SIZES = {"size", "shape", "dim", "ndim", "ndimension", "numel", "nelement"}
_NUMBERS = (bool, int, float)


class Sizes:
    """The sizes in a graph that is being made, found by running parts of it without data."""

    def __init__(self, root: nn.Module, inputs: Iterable[Any]) -> None:
        """Remember what to run.

        Args:
            root: the module being traced, on the meta device.
            inputs: a value for each placeholder, tensors on the meta device.
        """
        self._root = root
        self._modules = dict(root.named_modules())
        self._inputs = iter(tuple(inputs))
        self._values: dict[fx.Node, Any] = {}

    def add_input(self, node: fx.Node) -> None:
        """Note the next placeholder."""
        self._values[node] = next(self._inputs)

    def known(self, node: fx.Node) -> Any:
        """The value of ``node`` if it is made of sizes alone (a number, or a tuple of them).

        Raises:
            LookupError: it is something else, or depends on something else than sizes.
        """
        value = self._run(node)
        if not (_is_numbers(value) and self._asks_for_sizes_alone(node)):
            raise LookupError(f"{node} is no size")
        return value

    def is_none(self, node: fx.Node, key: Any) -> bool:
        """Whether the value of ``node`` is a tuple with ``None`` at ``key``."""
        value = self._run(node)
        return isinstance(value, (tuple, list)) and value[key] is None

    def length(self, node: fx.Node) -> tuple[int, bool]:
        """The length of a value, and whether it is a size (a tuple's is not: it never changes)."""
        value = self._run(node)
        if not isinstance(value, (torch.Tensor, tuple, list)):
            raise LookupError(f"{node} has no length")
        return len(value), isinstance(value, torch.Tensor)

    def _asks_for_sizes_alone(self, node: fx.Node) -> bool:
        """Whether tensors are asked for sizes only on the way, not for device, type or values."""
        todo = [node]
        while todo:
            current = todo.pop()
            for parent in current.all_input_nodes:
                if _is_numbers(self._values[parent]):
                    todo.append(parent)
                elif _question(current) not in _ASK_FOR_SIZES:
                    return False
        return True

    def _run(self, node: fx.Node) -> Any:
        todo = [node]
        with torch.device("meta"), torch.no_grad(), Quickly():
            while todo:
                current = todo[-1]
                missing = [p for p in current.all_input_nodes if p not in self._values]
                todo += missing
                if not missing:
                    todo.pop()
                    if current not in self._values:
                        self._values[current] = self._call(current)
        return self._values[node]

    def _call(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self._values.__getitem__)
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            return getattr(self._modules[owner], name)
        if node.op == "call_module":
            return self._modules[str(node.target)](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _question(node: fx.Node) -> object:
    if node.op == "call_function" and node.target is getattr:
        return node.args[1]
    return node.target


def _is_numbers(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_numbers(item) for item in value)
    return isinstance(value, (*_NUMBERS, slice, type(None)))
