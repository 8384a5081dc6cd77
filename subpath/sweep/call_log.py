"""What a network does, call by call: the proof that two networks are the same needs no numbers.

Every call that reaches torch's operators is written down: the operator, its tensors as places in
memory, its other arguments by value, and what comes out. Places are named: parameters and buffers
by their path, inputs by their number, all others in the order in which they appear. Two networks
with equal logs do the same arithmetic on the same weights in the same order, so they give the same
numbers for all inputs of these shapes. Nothing here knows of torch.fx: the log of a converted
network does not depend on how it was converted.

What is computed from numbers alone (tables of positions, masks) is not written down; its values
are, where a call uses them, because a converted network may hold such tables ready-made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ..graph import shapes
from ..graph.tensors import storage_of, tensors_in

_MAY_HOLD_TENSORS = (torch.Tensor, tuple, list, dict)


@dataclass(frozen=True)
class Calls:
    """What one run did.

    Attributes:
        lines: one for each call, and one for what is returned.
        output: what came out.
    """

    lines: tuple[str, ...]
    output: Any


def log_calls(
    model: nn.Module,
    inputs: tuple[Any, ...],
    tables: Mapping[str, torch.Tensor] | None = None,
    **arguments: Any,
) -> Calls:
    """Run ``model`` once, in its present mode, and write down its calls.

    Args:
        model: on any device; on the meta device a run needs no memory and little time.
        inputs: on the device of the model.
        tables: values, on the CPU, of buffers that a conversion made from numbers alone.
        **arguments: further ones of ``model``, which hold no tensors.
    """
    log = _Log()
    for name, tensor in _named_tensors(model):
        if tables and name in tables:
            log.know(tensor, tables[name])
        else:
            log.name(tensor, name)
    for number, tensor in enumerate(tensors_in(inputs)):
        log.name(tensor, f"input {number}")
    with log, torch.set_grad_enabled(model.training):
        output = model(*inputs, **arguments)
    return Calls((*log.lines, f"return {log.described(output)}"), output)


def first_difference(expected: Calls, got: Calls) -> str:
    """Where two runs part, in words; nothing if they are equal."""
    for number, (one, two) in enumerate(zip(expected.lines, got.lines, strict=False), 1):
        if one != two:  # the shorter one ends with "return", so it is never a mere beginning
            return f"call {number} is {two}; expected {one}"
    return ""


class _Log(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[str] = []
        self._numbers = count()
        self._names: dict[int, str] = {}  # by storage
        self._tables: dict[int, torch.UntypedStorage] = {}  # by storage, the values on the CPU
        self._kept: list[Any] = []  # storages are known by address: nothing may be freed meanwhile

    def name(self, tensor: torch.Tensor, name: str) -> None:
        """Give the memory of ``tensor`` a name; where two tensors share it, the first one."""
        self._kept.append(tensor)
        self._names.setdefault(storage_of(tensor), name)

    def know(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Take ``tensor`` as a table with these values."""
        self._kept.append(tensor)
        self._tables.setdefault(storage_of(tensor), value.untyped_storage())

    def described(self, value: Any) -> str:
        """An argument or a result in words."""
        if isinstance(value, torch.Tensor):
            return self._place(value)
        kind = type(value).__name__
        if isinstance(value, (list, tuple)):
            return f"{kind}({', '.join(map(self.described, value))})"
        if isinstance(value, Mapping):
            items = (f"{key}: {self.described(item)}" for key, item in value.items())
            return f"{kind}({', '.join(items)})"
        return str(value)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        used = list(tensors_in((args, kwargs)))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if not random and all(storage_of(tensor) in self._tables for tensor in used):
            return self._make_table(func, args, kwargs)
        words = [self.described(argument) for argument in args]
        words += [f"{key}={self.described(argument)}" for key, argument in kwargs.items()]
        result = shapes.run(func, args, kwargs)
        for tensor in _written(func, args, kwargs):
            self._tables.pop(storage_of(tensor), None)
        self.lines.append(f"{func}({', '.join(words)}) -> {self.described(result)}")
        return result

    def _make_table(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call on numbers alone as it is, and on the CPU for its values."""
        result = func(*args, **kwargs)
        cpu = tree_map_only(torch.device, lambda _: torch.device("cpu"), kwargs)
        values = func(*tree_map_only(torch.Tensor, self._value, args), **cpu)
        if "empty" in func.__name__:
            values.zero_()
        for tensor, value in zip(tensors_in(result), tensors_in(values), strict=True):
            self.know(tensor, value)
        return result

    def _value(self, table: torch.Tensor) -> torch.Tensor:
        storage = self._tables[storage_of(table)]
        value = torch.empty(0, dtype=table.dtype, device="cpu")
        return value.set_(storage, table.storage_offset(), table.shape, table.stride())

    def _place(self, tensor: torch.Tensor) -> str:
        form = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        storage = storage_of(tensor)
        if storage in self._tables:
            return f"table {_digest(self._value(tensor))} {form}"
        self._kept.append(tensor)
        if storage not in self._names:
            self._names[storage] = f"#{next(self._numbers)}"
        place = f"{self._names[storage]} {form}"
        if tensor.is_contiguous() and not tensor.storage_offset():
            return place
        return f"{place} at {tensor.storage_offset()} by {list(tensor.stride())}"


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that ``func`` writes into."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            yield from tensors_in(given)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
    for path, module in model.named_modules():  # caches and the like
        for name, value in vars(module).items():
            if not name.startswith("_") and isinstance(value, _MAY_HOLD_TENSORS):
                for number, tensor in enumerate(tensors_in(value)):
                    yield f"{path}.{name}.{number}", tensor


def _digest(tensor: torch.Tensor) -> str:
    numbers = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:12]
