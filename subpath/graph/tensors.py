"""The tensors inside nested values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

Place = tuple[Any, ...]


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors inside nested tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif _is_record(value):
        for name in _fields(value):
            yield from tensors_in(getattr(value, name))


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """What lies inside nested tuples, lists, dicts and dataclasses, each with its place.

    A place is the keys, numbers and names of fields that lead there.
    """
    if isinstance(value, (tuple, list)):
        for number, item in enumerate(value):
            yield from leaves(item, (*place, number))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif _is_record(value):
        for name in _fields(value):
            yield from leaves(getattr(value, name), (*place, name))
    else:
        yield place, value


def at(value: Any, place: Place) -> Any:
    """What lies at a place that :func:`leaves` gave."""
    for key in place:
        value = getattr(value, key) if _is_record(value) else value[key]
    return value


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, (type, dict))


def _fields(value: Any) -> Iterator[str]:
    return (field.name for field in dataclasses.fields(value) if hasattr(value, field.name))


def storage_of(tensor: torch.Tensor) -> int:
    """An id for the memory of ``tensor``; views share it. It is an address, so keep the tensor."""
    if tensor.layout is not torch.strided:  # sparse: it has no memory of one piece
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


def has_memory(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` has memory to look at; what ``vmap`` hands to a function has none."""
    if tensor.layout is not torch.strided:
        return True
    try:
        tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True
