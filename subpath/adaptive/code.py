"""From a folded graph to a Python function."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from itertools import count
from typing import Any

from torch import fx

_numbers = count()


def compile_forward(graph: fx.Graph) -> Callable[..., Any]:
    """The function ``forward(self, ...)`` that runs ``graph`` on a module with its parameters.

    A function, not a ``GraphModule``: it holds no parameters of its own that could go stale.
    Its source is known to ``linecache``, so tracebacks show the line that failed.
    """
    code = graph.python_code(root_module="self")
    name = f"<subpath forward {next(_numbers)}>"
    namespace = dict(code.globals)
    exec(compile(code.src, name, "exec"), namespace)
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    forward: Callable[..., Any] = namespace["forward"]
    return forward
