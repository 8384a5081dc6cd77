"""The inputs of one call of a network: positional ones and those given by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from .signature import signature_of
from .tensors import tensors_in


@dataclass(frozen=True)
class Inputs:
    """What ``model(*args, **kwargs)`` is called with.

    Attributes:
        args: the positional inputs.
        kwargs: those by name.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> Iterator[torch.Tensor]:
        """All tensors in them, in order."""
        return tensors_in((self.args, dict(self.kwargs)))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """The same inputs with ``function`` of each tensor in its place."""
        return Inputs(*tree_map_only(torch.Tensor, function, (self.args, dict(self.kwargs))))


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


def inputs_in(batch: Any, like: torch.Tensor) -> Inputs:
    """What a batch of a loader gives the network, on the device and in the precision of ``like``.

    Of a tuple or list, as ``(images, labels)``, that is the first element; a dict, there too, holds
    inputs by name.
    """

    def placed(value: torch.Tensor) -> torch.Tensor:
        return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)

    given = batch[0] if isinstance(batch, (tuple, list)) else batch
    if isinstance(given, Mapping):
        return Inputs((), dict(given)).map(placed)
    return Inputs((given,)).map(placed)


def _takes(model: nn.Module, names: Mapping[Any, Any]) -> bool:
    """Whether ``model.forward`` takes all ``names`` as keyword arguments."""
    parameters = signature_of(model.forward).parameters.values()
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = names.keys() & by_name
    return names.keys() <= by_name or (any_name and bool(known))


def in_order(model: nn.Module, inputs: Inputs) -> tuple[Any, ...] | None:
    """The inputs as positional ones; ``None`` if there are gaps between those given by name."""
    args, left = list(inputs.args), dict(inputs.kwargs)
    for parameter in list(signature_of(model.forward).parameters.values())[len(args) :]:
        if not left or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            break
        if parameter.name not in left:
            return None
        args.append(left.pop(parameter.name))
    return None if left else tuple(args)
