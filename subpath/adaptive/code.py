"""From a folded graph to a Python function, and what ``torch.compile`` makes of it."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from itertools import count
from types import FunctionType
from typing import Any, TypeVar

from torch import fx
from torch._dynamo.eval_frame import skip_code

_numbers = count()
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compile_forward(graph: fx.Graph) -> Callable[..., Any]:
    """The function ``forward(self, ...)`` that runs ``graph`` on a module with its parameters.

    A function, not a ``GraphModule``: it holds no parameters of its own that could go stale.
    Its source is known to ``linecache``, so tracebacks show the line that failed. Its code object
    is its own, and so is what ``torch.compile`` keeps for it.
    """
    code = graph.python_code(root_module="self")
    name = f"<subpath forward {next(_numbers)}>"
    namespace = dict(code.globals)
    exec(compile(code.src, name, "exec"), namespace)
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def dispatches(function: _Function) -> _Function:
    """Let ``torch.compile`` pass ``function`` by and compile what it calls.

    For what chooses a config: compiled, it would be compiled again for each of ``2**S`` configs,
    and given up after eight. Called inside a larger compiled function it is looked into as usual:
    ``torch.compiler.disable(recursive=False)`` would forbid that.
    """
    assert isinstance(function, FunctionType)
    skip_code(function.__code__)
    return function
