"""From a folded graph to a Python function, and what ``torch.compile`` makes of it."""

from __future__ import annotations

import linecache
import operator
from collections.abc import Callable
from itertools import count
from types import FunctionType
from typing import Any, TypeVar

from torch import fx, nn
from torch._dynamo.eval_frame import skip_code

from .module_lookups import Lookups

_numbers = count()
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compile_forward(graph: fx.Graph, root: nn.Module) -> Callable[..., Any]:
    """The function ``forward(self, ...)`` that runs ``graph`` on ``root``; it uses up the graph.

    A function, not a ``GraphModule``: it holds no parameters of its own that could go stale.
    Its source is known to ``linecache``, so tracebacks show the line that failed. Its code object
    is its own, and so is what ``torch.compile`` keeps for it.
    """
    _drop_idle_reads(graph)
    lookups = Lookups(root, graph)
    code = graph.python_code(root_module="self")
    source = lookups.source(code.src)
    name = f"<subpath forward {next(_numbers)}>"
    namespace = dict(code.globals)
    exec(compile(source, name, "exec"), namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    forward: Callable[..., Any] = namespace["forward"]
    return forward


def _drop_idle_reads(graph: fx.Graph) -> None:
    """Take away what reads a shape, device or dtype for nobody.

    Where a forward unpacks ``B, H, W = x.shape``, tracing makes one read of each name.
    """
    for node in reversed(graph.nodes):
        if not node.users and _is_read(node):
            graph.erase_node(node)


def _is_read(node: fx.Node) -> bool:
    read, taken = node, node.args[0] if node.args else None
    if node.target is operator.getitem and isinstance(taken, fx.Node):
        read = taken
    names = ("shape",) if read is not node else ("shape", "device", "dtype", "ndim")
    return read.target is getattr and read.args[1] in names


def dispatches(function: _Function) -> _Function:
    """Let ``torch.compile`` pass ``function`` by and compile what it calls.

    For what chooses a config: compiled, it would be compiled again for each of ``2**S`` configs,
    and given up after eight. Called inside a larger compiled function it is looked into as usual:
    ``torch.compiler.disable(recursive=False)`` would forbid that.
    """
    assert isinstance(function, FunctionType)
    skip_code(function.__code__)
    return function
