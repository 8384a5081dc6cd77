"""Run operators without data, and remember what came out: most calls of a network repeat.

On the meta device a call finds out nothing but shapes, yet for many operators torch takes a
millisecond for that, in Python. The layers of a network repeat, and it is run more than once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .tensors import storage_of, tensors_in

# For each call that gave new tensors: the kind of the result, and how to make such tensors. For one
# that worked in place and left the form of its first argument as it was: nothing.
_known: dict[Any, Any] = {}
_NEW = object()
_MOST = 20_000  # a bound on what is kept; then it starts anew

_PLAIN = (torch.Tensor, torch.nn.Parameter)


class Quickly(TorchDispatchMode):
    """A mode in which calls without data are :func:`run`, and all others are as ever."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})


class NoFastPath(TorchFunctionMode):
    """Changes nothing; while a mode is on, torch's transformer layers do not fuse into one call."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``func(*args, **kwargs)``; without data, what an equal earlier call gave.

    That is new tensors, or the first argument where it worked in place.

    Args:
        func: an operator, as a ``TorchDispatchMode`` is given it: torch itself has noted by then
            that a call in place writes.
    """
    in_place = _writes_its_first(func)
    if in_place is None or (in_place and not _writes_apart(args, kwargs)):
        return func(*args, **kwargs)
    try:
        key = (func, _form(args), _form(tuple(kwargs.items())))
        known = _known.get(key, _NEW)  # one look: another thread may empty it
        if known is not _NEW:
            return args[0] if known is None else _like(*known)
    except (TypeError, ValueError):  # an argument has data, or cannot be looked up
        return func(*args, **kwargs)
    result = func(*args, **kwargs)
    if len(_known) >= _MOST:
        _known.clear()
    if in_place:
        if result is args[0] and _form(args) == key[1]:
            _known[key] = None
    elif _is_new(result, (args, kwargs)):
        _known[key] = type(result), [_recipe(tensor) for tensor in tensors_in(result)]
    return result


@cache
def _writes_its_first(func: Any) -> bool | None:
    """Whether all that ``func`` does is to write numbers into its first argument.

    ``False`` if it writes nothing and gives no view, ``None`` for what does anything else.
    """
    first, *others = [argument.alias_info for argument in func._schema.arguments] or [None]
    if any(others):
        return None
    if first is None:
        return False
    numbers = {torch.Tag.pointwise, torch.Tag.nondeterministic_seeded}
    return True if first.is_write and numbers.intersection(func.tags) else None


def _writes_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the first argument has memory of its own."""
    first, *others = map(storage_of, tensors_in((args, kwargs)))
    return first not in others


def _form(value: Any) -> Any:
    """What a call depends on, for tensors without data; types tell 1, 1.0 and True apart."""
    if isinstance(value, torch.Tensor):
        if not value.is_meta or type(value) not in _PLAIN or value.layout is not torch.strided:
            raise ValueError("it has data, or is more than its numbers")
        return value.size(), value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple(map(_form, value))
    return type(value), value


def _is_new(result: Any, inputs: Any) -> bool:
    """Whether ``result`` is tensors alone, each with memory of its own."""
    parts = [result] if isinstance(result, torch.Tensor) else result
    if not isinstance(parts, (list, tuple)) or not all(
        type(part) is torch.Tensor and part.is_meta for part in parts
    ):
        return False
    memories = [storage_of(tensor) for tensor in (*parts, *tensors_in(inputs))]
    return all(memories.count(memory) == 1 for memory in memories[: len(parts)])


def _recipe(tensor: torch.Tensor) -> dict[str, Any]:
    form = {"size": tensor.size(), "stride": tensor.stride(), "dtype": tensor.dtype}
    return {**form, "device": "meta"}


def _like(kind: type, recipes: list[dict[str, Any]]) -> Any:
    made = [torch.empty_strided(**recipe) for recipe in recipes]
    return kind(made) if issubclass(kind, (list, tuple)) else made[0]
