"""Run operators without data, and remember what came out: most calls of a network repeat.

On the meta device a call finds out nothing but shapes, yet for many operators torch takes a
millisecond for that, in Python.
"""

from __future__ import annotations

from typing import Any

import torch

from ..graph.facts import tensors_in

# For each call that gave new tensors: the kind of the result, and how to make such tensors.
_known: dict[Any, tuple[type, list[dict[str, Any]]]] = {}


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``func(*args, **kwargs)``; without data, new tensors like those of an equal earlier call.

    Args:
        func: an operator, as a ``TorchDispatchMode`` is given it.
    """
    if any(argument.alias_info for argument in func._schema.arguments):
        return func(*args, **kwargs)
    try:
        key = (func, _form(args), _form(tuple(kwargs.items())))
        if key in _known:
            return _like(*_known[key])
    except (TypeError, ValueError):  # an argument has data, or cannot be looked up
        return func(*args, **kwargs)
    result = func(*args, **kwargs)
    if _is_new(result, (args, kwargs)):
        tensors = list(tensors_in(result))
        _known[key] = (type(result), [_recipe(tensor) for tensor in tensors])
    return result


def _form(value: Any) -> Any:
    """What a call depends on, for tensors without data; types tell 1, 1.0 and True apart."""
    if isinstance(value, torch.Tensor):
        if not value.is_meta:
            raise ValueError("it has data")
        return value.size(), value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple(map(_form, value))
    return type(value), value


def _is_new(result: Any, inputs: Any) -> bool:
    """Whether ``result`` is tensors alone, each with memory of its own."""
    parts = [result] if isinstance(result, torch.Tensor) else result
    if not isinstance(parts, (list, tuple)) or not all(
        isinstance(part, torch.Tensor) and part.is_meta for part in parts
    ):
        return False
    tensors = [*parts, *tensors_in(inputs)]
    memories = [tensor.untyped_storage()._cdata for tensor in tensors]
    return all(memories.count(memory) == 1 for memory in memories[: len(parts)])


def _recipe(tensor: torch.Tensor) -> dict[str, Any]:
    form = {"size": tensor.size(), "stride": tensor.stride(), "dtype": tensor.dtype}
    return {**form, "device": "meta"}


def _like(kind: type, recipes: list[dict[str, Any]]) -> Any:
    made = [torch.empty_strided(**recipe) for recipe in recipes]
    return kind(made) if issubclass(kind, (list, tuple)) else made[0]
