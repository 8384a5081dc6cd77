"""What networks take and return: tensors inside of tuples, dicts, dataclasses and caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

CLASS = "is a"


def plain(value: Any) -> Any:
    """The same with a dict for every object, so that only what is inside needs to be compared.

    A dict that stands for another object names its class.
    """
    if isinstance(value, (Tensor, nn.Module, type)):
        return value
    if isinstance(value, Mapping):  # also the outputs of transformers and diffusers
        inside = dict(value)
    elif isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if _is_built_in(value) else [*map(plain, value)]
    elif is_dataclass(value):
        inside = {field.name: getattr(value, field.name) for field in fields(value)}
    elif _is_told_by_what_it_holds(value):
        inside = dict(vars(value))
    else:
        return value
    own = {} if _is_built_in(value) else {CLASS: type(value).__name__}
    return own | {key: plain(item) for key, item in inside.items()}


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside, in order."""
    value = plain(value)
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


def _is_built_in(value: Any) -> bool:
    return type(value) in (dict, list, tuple)


def _is_told_by_what_it_holds(value: Any) -> bool:
    """Whether it can be compared in no other way, as a cache of keys and values."""
    has_no_equality = type(value).__eq__ is object.__eq__  # type: ignore[comparison-overlap]
    return has_no_equality and hasattr(value, "__dict__") and not callable(value)
