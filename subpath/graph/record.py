"""From one run of a network to a graph, whatever Python decides on the way.

The second reader. Where torch.fx would have to follow a forward with stand-ins for tensors, here
the forward runs as it is, and each operator that reaches torch is written down. That sees through
decisions by type, value or configuration, caches, einops, ``vmap``, scripted code and the inside
of an ``autograd.Function``. What it shows holds for this input; so what is read in this way keeps
its own forward and is run in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import TraceError
from . import shapes
from .copies import try_out
from .facts import Fact, fact_of, flops
from .inputs import Inputs
from .signature import signature_of
from .tensors import at, has_memory, leaves, storage_of, tensors_in
from .traced_graph import Call, CallValues, TracedGraph

IsLeaf = Callable[[str, nn.Module], bool]
_Forward = Callable[..., Any]
_Run = Callable[[Call, _Forward, Any, Any], Any]


def record(model: nn.Module, inputs: Inputs, is_leaf: IsLeaf) -> TracedGraph:
    """Run a copy of ``model`` in eval mode and write down what it does.

    It runs without data where it can, else on a copy with its weights.

    Args:
        model: it is neither run nor changed.
        inputs: what to run it with.
        is_leaf: says for a path and a module whether it counts as one call.

    Raises:
        TraceError: the model does not run on these inputs.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return try_out(model, inputs, lambda copied, given: _run(copied, given, is_leaf))
    except Exception as error:  # the model's own code runs here
        first = (str(error).strip() or "no message").splitlines()[0]
        raise TraceError(
            f"got a {type(model).__name__} that does not run on the example input: "
            f"{type(error).__name__}: {first}. Expected an input as the model takes it; give one "
            "with example_input=... (in the terminal, --input or --input-size)"
        ) from error


def _run(root: nn.Module, inputs: Inputs, is_leaf: IsLeaf) -> TracedGraph:
    recorder = _Recorder(root.eval(), is_leaf)
    recorder.add_inputs(root, inputs)
    for path, module in root.named_modules():
        if path:
            recorder.watch(path, module)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(shapes.NoFastPath())
        stack.enter_context(recorder)
        output = root(*inputs.args, **inputs.kwargs)
    recorder.graph.output(tuple(recorder.node_of(tensor) for tensor in tensors_in(output)))
    return TracedGraph(
        graph=recorder.graph,
        calls=recorder.calls,
        facts=recorder.facts,
        constants={},
        opaque={},
        by_size=False,
        handed=recorder.handed,
    )


@dataclass
class _Made:
    """The node whose value a tensor holds, and when it was written down."""

    node: fx.Node
    time: int


def rewritten(value: Any, written: Any) -> Any:
    """``value``, after ``written`` was put into a part of its memory: a place in the graph only."""
    return value


def part_of(value: Any) -> Any:
    """A tensor in the memory of ``value`` that no operator gave: a place in the graph only."""
    return value


def item(value: Any, *place: Any) -> Any:
    """What lies at a place inside ``value``."""
    return at(value, place)


class _Recorder(TorchDispatchMode):
    def __init__(self, root: nn.Module, is_leaf: IsLeaf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.calls: dict[fx.Node, tuple[Call, ...]] = {}
        self.facts: dict[fx.Node, Fact] = {}
        self.handed: dict[Call, CallValues] = {}
        self._is_leaf = is_leaf
        self._stack: list[Call] = []
        self._calls_made = 0
        self._inside_leaf = 0
        self._flops = 0
        self._made: dict[int, _Made] = {}  # by tensor
        self._last_write: dict[int, _Made] = {}  # by storage
        self._owners: dict[int, list[torch.Tensor]] = {}  # by storage
        self._kept: list[Any] = []  # tensors are known by address: nothing may be freed meanwhile
        self._named: dict[int, str] = {}
        for names in (root.named_parameters, root.named_buffers):
            for name, tensor in names(remove_duplicate=True):
                self._named[id(tensor)] = name

    def add_inputs(self, root: nn.Module, inputs: Inputs) -> None:
        """A placeholder for each tensor of the inputs."""
        for name, value in named_arguments(root.forward, inputs.args, inputs.kwargs):
            for place, tensor in leaves(value):
                if isinstance(tensor, torch.Tensor) and id(tensor) not in self._made:
                    label = "_".join(map(str, (*name, *place)))
                    self._note(self.graph.placeholder(label), tensor)

    def watch(self, path: str, module: nn.Module) -> None:
        """Let calls of ``module`` be noted."""
        forward = module.forward
        leaf = self._is_leaf(path, module)
        run = self._run_leaf if leaf else self._run_opened

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._inside_leaf or not all(map(has_memory, tensors_in((args, kwargs)))):
                return forward(*args, **kwargs)  # inside vmap the operators are noted one by one
            self._calls_made += 1
            return self._call(Call(path, self._calls_made), run, forward, args, kwargs)

        module.forward = watched

    def node_of(self, tensor: torch.Tensor) -> fx.Node:
        """The node whose value ``tensor`` holds now."""
        made = self._made.get(id(tensor)) or self._first_seen(tensor)
        write = self._last_write.get(storage_of(tensor))
        if write is not None and write.time > made.time and write.node is not made.node:
            node = self.graph.call_function(rewritten, (made.node, write.node))
            made = self._note(node, tensor)
        return made.node

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside_leaf:
            result = shapes.run(func, args, kwargs)
            self._flops += flops(func, args, kwargs, result)
            return result
        given = self._nodes(args, kwargs)
        result = shapes.run(func, args, kwargs)
        node = self.graph.call_function(func, *given)
        written = [storage_of(tensor) for tensor in _written(func, args, kwargs)]
        self._note_result(node, result, written, flops(func, args, kwargs, result) // 2)
        return result

    def _call(self, call: Call, run: _Run, forward: _Forward, args: Any, kwargs: Any) -> Any:
        """One call of a module, and what is handed in and out of it."""
        given = [
            ((*name, *place), self.node_of(leaf) if isinstance(leaf, torch.Tensor) else leaf)
            for name, value in named_arguments(forward, args, kwargs)
            for place, leaf in leaves(value)
        ]
        result = run(call, forward, args, kwargs)
        tensors = {id(tensor): self.node_of(tensor) for tensor in tensors_in(result)}
        self._kept.append((args, kwargs, result))
        self.handed[call] = CallValues(tuple(given), result, tensors)
        return result

    def _run_opened(self, call: Call, forward: _Forward, args: Any, kwargs: Any) -> Any:
        self._stack.append(call)
        try:
            return forward(*args, **kwargs)
        finally:
            self._stack.pop()

    def _run_leaf(self, call: Call, forward: _Forward, args: Any, kwargs: Any) -> Any:
        given = self._nodes(args, kwargs)
        before = [(tensor, tensor._version) for tensor in tensors_in((args, kwargs))]
        counted = self._flops
        self._inside_leaf += 1
        try:
            result = forward(*args, **kwargs)
        finally:
            self._inside_leaf -= 1
        self._stack.append(call)
        node = self.graph.create_node("call_module", call.path, *given)
        self.calls[node] = tuple(self._stack)
        self._stack.pop()
        written = [storage_of(tensor) for tensor, version in before if tensor._version != version]
        self._note_result(node, result, written, (self._flops - counted) // 2)
        return result

    def _note_result(self, node: fx.Node, result: Any, written: list[int], macs: int) -> None:
        self.calls.setdefault(node, tuple(self._stack))
        self._kept.append(result)
        self.facts[node] = fact_of(result, frozenset(written), macs)
        if isinstance(result, torch.Tensor):
            self._remember(node, result)
        else:
            for place, tensor in leaves(result):
                if isinstance(tensor, torch.Tensor):
                    self._note(self.graph.call_function(item, (node, *place)), tensor)
        now = len(self.facts)
        for storage in written:
            self._last_write[storage] = _Made(node, now)

    def _note(self, node: fx.Node, tensor: torch.Tensor) -> _Made:
        """Let ``node`` have ``tensor`` as its one value."""
        self.calls[node] = tuple(self._stack)
        self.facts[node] = fact_of(tensor, frozenset(), 0)
        return self._remember(node, tensor)

    def _remember(self, node: fx.Node, tensor: torch.Tensor) -> _Made:
        self._kept.append(tensor)
        if id(tensor) not in self._made:
            self._owners.setdefault(storage_of(tensor), []).append(tensor)
        made = self._made[id(tensor)] = _Made(node, len(self.facts))
        return made

    def _first_seen(self, tensor: torch.Tensor) -> _Made:
        """A tensor that no operator gave: a parameter, a constant, another view of a known one."""
        name = self._named.get(id(tensor))
        known = self._owners.get(storage_of(tensor), [])
        if name is None and known:
            alike = [t for t in known if _form(t) == _form(tensor)]
            if alike:
                made = self._made[id(alike[-1])]
                self._kept.append(tensor)
                self._made[id(tensor)] = made
                return made
            whole = self.node_of(known[-1])
            return self._note(self.graph.call_function(part_of, (whole,)), tensor)
        # Not graph.get_attr, which asks an owning module that is not there.
        node = self.graph.create_node("get_attr", name or f"_constant_{len(self.facts)}")
        return self._note(node, tensor)

    def _nodes(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (
            tuple(self._as_argument(value) for value in args),
            {name: self._as_argument(value) for name, value in kwargs.items()},
        )

    def _as_argument(self, value: Any) -> Any:
        """``value`` as an argument of a node."""
        if isinstance(value, torch.Tensor):
            return self.node_of(value)
        if isinstance(value, (list, tuple)):
            return tuple(self._as_argument(item) for item in value)
        if isinstance(value, dict):
            return {str(key): self._as_argument(item) for key, item in value.items()}
        if value == torch.device("meta"):  # where nodes are tried out, there is data
            return torch.device("cpu")
        inside = list(leaves(value))
        if len(inside) != 1 or inside[0][0]:
            return tuple(self._as_argument(item) for _, item in inside)
        atoms = (bool, int, float, complex, str, type(None), torch.dtype, torch.device)
        plain = (*atoms, torch.layout, torch.memory_format)
        return value if isinstance(value, plain) else repr(type(value))


def named_arguments(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each argument of a call with its place: its name, and a number among ``*args``."""
    bound = signature_of(forward).bind(*args, **kwargs)
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            yield from (((name, number), item) for number, item in enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            yield from (((key,), item) for key, item in value.items())
        else:
            yield (name,), value


def _form(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that ``func`` writes into."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            yield from tensors_in(given)
