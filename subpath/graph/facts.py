"""What is known of each value in a traced graph: shape, storage, who writes into whom.

The facts come from running the graph once on the meta device (shapes without data): no list of
functions is needed to know which calls work in place, because the version counters tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from .copies import deep_copy, on_meta, shape_copy, without_hooks
from .shapes import Quickly
from .tensors import storage_of, tensors_in

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True)
class Fact:
    """What one run of one node showed.

    Attributes:
        shapes: shape of each tensor in the value, in order (one for a plain tensor).
        storages: an id for the storage of each of those tensors; views share one.
        writes: storages that the node wrote into, of tensors that existed before it.
        macs: multiply-adds of its matrix products and convolutions, by torch's own formulas.
        value: the value itself where it holds no tensor (sizes, flags); else ``None``.
        floating: whether it holds numbers with fractions, not just indices or flags.
    """

    shapes: tuple[tuple[int, ...], ...]
    storages: tuple[int, ...]
    writes: frozenset[int] = frozenset()
    macs: int = 0
    value: Any = field(default=None, compare=False)
    floating: bool = True

    @property
    def is_flow(self) -> bool:
        """Whether the value holds a tensor."""
        return bool(self.shapes)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a value that is exactly one tensor, else ``None``."""
        return self.shapes[0] if len(self.shapes) == 1 else None


Facts = Mapping[fx.Node, Fact]


def fact_of(value: Any, writes: frozenset[int], macs: int) -> Fact:
    """The fact of a node that gave ``value``."""
    tensors = tuple(tensors_in(value))
    return Fact(
        shapes=tuple(tuple(tensor.shape) for tensor in tensors),
        storages=tuple(storage_of(tensor) for tensor in tensors),
        writes=writes,
        macs=macs,
        value=None if tensors else value,
        floating=any(t.is_floating_point() or t.is_complex() for t in tensors),
    )


def flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """What one operator costs, by ``torch.utils.flop_counter`` (two for each multiply-add)."""
    packet = func._overloadpacket
    if packet is _CPU_ATTENTION:  # no formula of its own (pytorch #195460)
        query, key, value = (tensor.shape for tensor in args[:3])
        return int(sdpa_flop_count(query, key, value))
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    return 0


def propagate(
    model: nn.Module,
    graph: fx.Graph,
    inputs: tuple[Any, ...],
    constants: Mapping[str, torch.Tensor],
) -> dict[fx.Node, Fact]:
    """Run ``graph`` in eval mode on tensors without data and note a fact for every node.

    Where a part that is called whole decides by values, the graph runs on a copy with data.

    Args:
        model: the module the graph was traced from; it is not changed.
        inputs: one example value for each placeholder.
        constants: tensors the graph reads beside the model's own parameters and buffers.
    """
    try:
        # New tensors (torch.arange in a forward) must go where the others are.
        with torch.device("meta"):
            shapes = on_meta((inputs, dict(constants)))
            return _record(shape_copy(model), graph, *shapes)
    except Exception:  # what is at fault shows when there is data
        with torch.random.fork_rng(devices=[]):
            return _record(without_hooks(deep_copy(model)), graph, inputs, constants)


def _record(
    root: nn.Module,
    graph: fx.Graph,
    inputs: tuple[Any, ...],
    constants: Mapping[str, torch.Tensor],
) -> dict[fx.Node, Fact]:
    vars(root).update(constants)
    recorder = _Recorder(root.eval(), graph)
    with torch.no_grad(), recorder.counter:
        recorder.run(*inputs)
    return recorder.facts


class _Recorder(fx.Interpreter):
    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.facts: dict[fx.Node, Fact] = {}
        self.counter = _MacCounter()
        self.kept: list[Any] = []  # storage ids are addresses: nothing may be freed meanwhile

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return tuple(map(_own_lists, args)), {name: _own_lists(v) for name, v in kwargs.items()}

    def run_node(self, n: fx.Node) -> Any:
        before = [
            (tensor, tensor._version)
            for parent in n.all_input_nodes
            for tensor in tensors_in(self.env.get(parent))
        ]
        counted = self.counter.flops
        result = super().run_node(n)
        self.kept.append(result)
        writes = frozenset(storage_of(t) for t, version in before if t._version != version)
        self.facts[n] = fact_of(result, writes, (self.counter.flops - counted) // 2)
        return result


def _own_lists(value: Any) -> Any:
    """Lists that a callee may change, as it may those in the code of the graph."""
    if isinstance(value, list):
        return [_own_lists(item) for item in value]
    return tuple(map(_own_lists, value)) if type(value) is tuple else value


class _MacCounter(Quickly):
    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self.flops += flops(func, args, kwargs or {}, result)
        return result
