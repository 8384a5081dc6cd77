"""The signature of a forward, of scripted modules too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def signature_of(forward: Callable[..., Any]) -> inspect.Signature:
    """What ``forward`` takes; a method of TorchScript tells it in a schema."""
    try:
        return inspect.signature(forward)
    except ValueError:
        given: Any = forward
        _, *arguments = given.schema.arguments  # the first is the module itself
        return inspect.Signature([_parameter(argument) for argument in arguments])


def _parameter(argument: Any) -> inspect.Parameter:
    required = inspect.Parameter.empty
    default = argument.default_value if argument.has_default_value() else required
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return inspect.Parameter(argument.name, kinds[argument.kwarg_only], default=default)
