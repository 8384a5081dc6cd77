"""Methods of the original whose effect must reach the straight-line code and the twins."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from ..errors import ConversionError
from ..graph.copies import shape_copy
from .gates import GatedGraph
from .tracing import Tracing

_TWIN = r"(?:twin_norms\.\d+\.)?"


def for_twins_too(matcher: Any) -> Any:
    """What timm's ``group_matcher`` gives, so that a twin is in its original's layer.

    Args:
        matcher: regular expressions by group, or a function of a parameter's name.
    """
    if callable(matcher):
        return lambda name: matcher(re.sub(f"^{_TWIN}", "", name))
    return {group: _for_twins_too(expression) for group, expression in matcher.items()}


def _for_twins_too(expression: Any) -> Any:
    if expression is None:
        return None
    if isinstance(expression, (tuple, list)):
        return [(_for_twins_too(inner), suffix) for inner, suffix in expression]
    # timm matches from the start in any case, and after an optional prefix ``^`` would not match.
    unanchored = re.sub(r"(?<![\[\\])\^", "", expression)
    return f"{_TWIN}(?:{unanchored})"


def graphs_after_reset(
    root: nn.Module, tracing: Tracing, inputs: tuple[Any, ...], reset: tuple[Any, ...]
) -> dict[bool, GatedGraph]:
    """The graphs that ``root.reset_classifier(*reset)`` will make right; ``root`` is not changed.

    Pooling is part of the forward that is traced, so other pooling is another graph.

    Raises:
        ConversionError: the network could not be cut by its plan any more.
    """
    trial: Any = shape_copy(root)
    args, kwargs = reset
    with torch.random.fork_rng(devices=[]):
        trial.reset_classifier(*args, **kwargs)
    try:
        return tracing.graphs(trial, inputs)
    except ConversionError as error:
        raise ConversionError(
            f"got reset_classifier{args} {kwargs or ''}, after which the plan does not fit the "
            f"network ({error}); expected a head that leaves the stages as they are. Call "
            "reset_classifier on the original and convert that"
        ) from error
