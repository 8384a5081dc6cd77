"""From one ``nn.Module`` to a torch.fx graph that remembers which call made which node.

Nothing here knows of residual networks. Modules that cannot be traced become leaves with a
recorded reason, and the rest of the model is traced all the same.
"""

from __future__ import annotations

import dis
import inspect
import itertools
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from ..errors import TraceError
from .copies import on_meta, shape_copy
from .facts import propagate
from .randomness import nothing_drawn
from .sizes import Sizes
from .trace_checks import check_kept, kept_by, own_backward_kept, restore
from .traced_graph import Call, TracedGraph

# While it traces, torch.fx replaces how every module of the process is called: one at a time, and
# what other threads run meanwhile is none of its business.
_TRACING = threading.Lock()


def trace(
    model: nn.Module,
    inputs: tuple[Any, ...],
    is_leaf: Callable[[str, nn.Module], bool],
    opaque_functions: Collection[Callable[..., Any]] = (),
    training: bool = False,
    earlier: TracedGraph | None = None,
) -> TracedGraph:
    """Trace ``model`` with torch.fx; the model itself is neither run nor changed.

    Args:
        inputs: example arguments; further arguments of ``forward`` keep their defaults.
        is_leaf: says for a path and module whether it is called whole. Containers that are never
            called (``ModuleList``) are not asked about.
        opaque_functions: functions kept as single calls (timm's registry of such functions).
        training: trace the forward of ``model.train()`` rather than of ``model.eval()``.
        earlier: a trace of the same model; it is returned when the new one says the same.

    Raises:
        TraceError: the model's own forward cannot be traced or run.
    """
    copy = shape_copy(model).train(training)
    own = frozenset(vars(copy))
    sizes = Sizes(copy, on_meta(inputs))
    tracer = _Tracer(inputs, is_leaf, opaque_functions, sizes)
    try:
        with (
            _TRACING,
            own_backward_kept(),
            torch.device("cpu"),
        ):  # tensors that a forward makes from numbers alone are real
            kept = kept_by(copy)
            with nothing_drawn():
                graph = tracer.trace(copy)
            check_kept(copy, kept)
    except Exception as error:  # a forward may raise anything when it meets a proxy
        raise TraceError(
            f"got a {type(model).__name__} whose own forward torch.fx cannot trace: "
            f"{_reason(error)}. Expected a forward without control flow on values. "
            "Move that part into a submodule (it is then called whole), or convert the part of "
            "the network that holds the residual stages."
        ) from error
    constants = _constants(copy, own, graph, "train" if training else "eval")
    if (
        earlier is not None
        and not constants
        and str(graph) == str(earlier.graph)
        and bool(tracer.decisions) == earlier.by_size
    ):
        return earlier
    try:
        facts = propagate(model, graph, inputs, constants)
    except Exception as error:  # the model's own code runs here
        raise TraceError(
            f"got a {type(model).__name__} that does not run on the example input "
            f"({_describe(inputs)}): {_reason(error)}. Expected an input as the model takes it; "
            "give one with example_input=... (in the terminal, --input-size)"
        ) from error
    by_size = bool(tracer.decisions)
    return TracedGraph(graph, tracer.calls, facts, constants, tracer.opaque, by_size)


def _constants(
    copy: nn.Module, own: Collection[str], graph: fx.Graph, mode: str
) -> dict[str, torch.Tensor]:
    """The tensors that torch.fx put on the traced copy, under names of their mode's own."""
    constants = {}
    for node in graph.find_nodes(op="get_attr"):
        value = vars(copy).get(str(node.target))
        if node.target not in own and isinstance(value, torch.Tensor):
            numbered = (f"{node.target}_{mode}_{i}" for i in itertools.count())
            node.target = next(name for name in numbered if not hasattr(copy, name))
            constants[node.target] = value
    if any(value.is_meta for value in constants.values()):
        raise TraceError(
            f"got a {type(copy).__name__} whose forward reads a tensor that is neither parameter "
            "nor buffer nor a constant; expected register_buffer for tensors a module keeps"
        )
    return constants


class _Unpacked(fx.Proxy):
    """Is taken apart into names (``a, b = x``)."""

    def __iter__(self) -> Iterator[Any]:
        """As torch.fx does it, which reads the caller's whole byte code each time."""
        frame = inspect.currentframe()
        assert frame is not None
        caller = frame.f_back
        assert caller is not None
        count = _names_unpacked(caller.f_code, caller.f_lasti)
        return self.tracer.iter(self) if count is None else (self[i] for i in range(count))  # type: ignore[index]


class _Attribute(_Unpacked, fx.proxy.Attribute):
    """An attribute of a traced value, such as its shape."""


class _Proxy(_Unpacked):
    """Records ``x += y`` and ``x[i] = y`` as what they are, and knows sizes.

    torch.fx traces the first as ``x = x + y``, which is not the same when ``x`` has another name,
    and refuses the second.
    """

    tracer: _Tracer

    def _record(self, function: Callable[..., Any], *operands: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, *operands), {})

    def __getattr__(self, k: str) -> _Attribute:
        return _Attribute(self, k)

    def __iadd__(self, other: Any) -> Any:
        return self._record(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._record(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._record(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._record(operator.itruediv, other)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._record(operator.setitem, key, value)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int) and self.tracer.is_none(self.node, key):
            return None
        return self._record(operator.getitem, key)

    def __index__(self) -> int:
        return int(self.tracer.decide(self.node))

    def __int__(self) -> int:
        return int(self.tracer.decide(self.node))

    def __float__(self) -> float:
        return float(self.tracer.decide(self.node))

    def __len__(self) -> int:
        return self.tracer.length(self.node)


@lru_cache(maxsize=4096)
def _names_unpacked(code: CodeType, place: int) -> int | None:
    """How many names the instruction at ``place`` unpacks a value into, if it does that."""
    found = next(i for i in dis.get_instructions(code) if i.offset >= place)
    return found.argval if found.opname == "UNPACK_SEQUENCE" else None


class _Tracer(fx.Tracer):
    # A buffer read as a plain tensor would let a forward compute with it while tracing, and the
    # result would be baked into the graph.
    proxy_buffer_attributes = True

    def __init__(
        self,
        inputs: tuple[Any, ...],
        is_leaf: Callable[[str, nn.Module], bool],
        opaque_functions: Collection[Callable[..., Any]],
        sizes: Sizes,
    ) -> None:
        super().__init__(autowrap_functions=tuple(opaque_functions))
        self._inputs = inputs
        self._sizes = sizes
        self._given_list = False
        self._runs = False  # while sizes are found out, modules run as they are
        self._thread = threading.get_ident()
        self._is_leaf = is_leaf
        self._stack: list[Call] = []
        self._calls_made = 0
        self.calls: dict[fx.Node, tuple[Call, ...]] = {}
        self.opaque: dict[str, str] = {}
        self.decisions: set[fx.Node] = set()
        self._names: dict[int, tuple[str, torch.Tensor]] = {}

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: Any = None,
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Placeholders for the example inputs alone; every other argument keeps its default."""
        names = _positional_names(root_fn, len(self._inputs))
        proxies = [self.create_proxy("placeholder", name, (), {}) for name in names]
        # A forward may ask whether it is given a dict (timm's NaFlexVit): it gets a real one.
        given: list[Any] = list(proxies)
        for i, example in enumerate(self._inputs):
            if isinstance(example, dict):
                given[i] = {key: given[i][key] for key in example}
        return root_fn, [self.root, *given]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.opaque:
            return True
        # What is given a list may change it, and the graph would not know.
        changes = self._given_list and not is_torch_layer(m)
        return not changes and self._is_leaf(module_qualified_name, m)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._runs or self._is_another_thread():
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        self._given_list = any(isinstance(value, list) for value in (*args, *kwargs.values()))
        self._calls_made += 1
        self._stack.append(Call(path, self._calls_made))
        last = next(iter(reversed(self.graph.nodes)))
        fx_stack = self.module_stack.copy()
        try:
            if self.is_leaf_module(m, path):
                return super().call_module(m, forward, args, kwargs)
            kept = kept_by(m)
            try:
                with nothing_drawn():
                    result = super().call_module(m, forward, args, kwargs)
                check_kept(m, kept)
                return result
            except Exception as error:  # a forward may raise anything when it meets a proxy
                self.opaque[path] = _reason(error)
                restore(m, kept)
                self.module_stack = fx_stack  # torch.fx does not restore it on an exception
                for node in reversed(self.graph.nodes):
                    if node is last:
                        break
                    self.calls.pop(node, None)
                    self.decisions.discard(node)
                    self.graph.erase_node(node)
                return super().call_module(m, forward, args, kwargs)
        finally:
            self._stack.pop()

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.calls[node] = tuple(self._stack)
        if node.op == "placeholder":
            self._sizes.add_input(node)
        return node

    def create_arg(self, a: Any) -> Any:
        if type(a) is OrderedDict:  # torch.fx would make a plain dict of it
            return self.create_proxy("call_function", OrderedDict, ([*a.items()],), {}).node
        if isinstance(a, dict) and type(a) is not dict:
            raise TraceError(f"got a {type(a).__name__}, which torch.fx would make a plain dict")
        return super().create_arg(a)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._runs or self._is_another_thread():
            return attr_val
        name = self._name_of(attr_val) if isinstance(attr_val, torch.Tensor) else None
        if name is None:
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def _name_of(self, tensor: torch.Tensor) -> str | None:
        """Of a parameter or buffer; torch.fx goes through all of them for each."""
        if not self._names:
            named = (*self.root.named_parameters(), *self.root.named_buffers())
            self._names = {id(tensor): (name, tensor) for name, tensor in named}
        return self._names.get(id(tensor), (None,))[0]

    def decide(self, node: fx.Node) -> Any:
        """The number that a forward decides by; it must follow from sizes."""
        value = self._ask(self._sizes.known, node)
        self.decisions.add(node)
        return value

    def is_none(self, node: fx.Node, key: Any) -> bool:
        """Whether a module called whole gives ``None`` at ``key`` of its result."""
        if node.op != "call_module" or is_torch_layer(self.root.get_submodule(str(node.target))):
            return False
        try:
            absent = self._ask(self._sizes.is_none, node, key)
        except TraceError:  # it does not run without data, so nothing is known
            return False
        if absent:
            self.decisions.add(node)
        return bool(absent)

    def length(self, node: fx.Node) -> int:
        """``len`` of a value."""
        length, is_size = self._ask(self._sizes.length, node)
        if is_size:
            self.decisions.add(node)
        return int(length)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.decide(obj.node))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        assert isinstance(obj, _Proxy)
        return (obj[i] for i in range(len(obj)))

    def _is_another_thread(self) -> bool:
        return threading.get_ident() != self._thread

    def _ask(self, question: Callable[..., Any], node: fx.Node, *more: Any) -> Any:
        self._runs = True
        try:
            return question(node, *more)
        except Exception as error:  # modules run here, which may raise anything
            raise TraceError(
                "got control flow on the values of a tensor; expected none, or decisions by sizes"
            ) from error
        finally:
            self._runs = False


def is_torch_layer(module: nn.Module) -> bool:
    """Whether ``module`` is one of torch's own layers, which are called whole."""
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    written = parametrize.type_before_parametrizations(module)
    return written.__module__.startswith("torch.nn") and not isinstance(module, containers)


def _positional_names(forward: Callable[..., Any], count: int) -> list[str]:
    """Names for the first ``count`` arguments of an unbound ``forward(self, ...)``."""
    names: list[str] = []
    for parameter in list(inspect.signature(forward).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise TypeError(f"forward takes {len(names)} positional inputs, got {count}")
    return names[:count]


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return f"{type(error).__name__}: {first}"


def _describe(inputs: tuple[Any, ...]) -> str:
    shapes = (list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__ for x in inputs)
    return ", ".join(f"shape {shape}" for shape in shapes)
