"""The inputs of one call of a network: positional ones and those given by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Inputs:
    """What ``model(*args, **kwargs)`` is called with.

    Attributes:
        args: the positional inputs.
        kwargs: those by name.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def as_inputs(model: nn.Module, given: Any) -> Inputs:
    """The inputs that a person means by ``given``.

    Args:
        model: the network that will be called.
        given: a tensor; a tuple or list of all positional inputs; or a dict. The dict holds
            keyword arguments where ``forward`` takes each of its keys by name, else it is itself
            the one positional input.
    """
    if isinstance(given, Inputs):
        return given
    if isinstance(given, (tuple, list)):
        return Inputs(tuple(given))
    if isinstance(given, Mapping) and _takes(model, given):
        return Inputs((), dict(given))
    return Inputs((given,))


def _takes(model: nn.Module, names: Mapping[Any, Any]) -> bool:
    """Whether ``model.forward`` takes all ``names`` as keyword arguments."""
    parameters = inspect.signature(model.forward).parameters.values()
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = names.keys() & by_name
    return names.keys() <= by_name or (any_name and bool(known))
