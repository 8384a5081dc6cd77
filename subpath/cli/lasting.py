"""Commands that last: they look for garbage. The others are over before there is any."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def lasting(
    command: Callable[Arguments, Result], only_with: str | None = None
) -> Callable[Arguments, Result]:
    """``command`` with Python's cyclic garbage collector on, which is off when it starts.

    While torch and timm are imported, the collector looks through all that they define again and
    again, and finds nothing: a fifth of the time of a command that takes seconds.

    Args:
        command: of the command line.
        only_with: the name of the option with which it lasts.
    """

    @wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if only_with is None or kwargs.get(only_with):
            gc.enable()
        return command(*args, **kwargs)

    return run
