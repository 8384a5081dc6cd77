"""What is known of each value in a traced graph: shape, storage, who writes into whom.

The facts come from running the graph once on fake tensors (shapes without data): no list of
functions is needed to know which calls work in place, because the version counters tell.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

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
    """

    shapes: tuple[tuple[int, ...], ...]
    storages: tuple[int, ...]
    writes: frozenset[int] = frozenset()
    macs: int = 0
    value: Any = field(default=None, compare=False)

    @property
    def is_flow(self) -> bool:
        """Whether the value holds a tensor."""
        return bool(self.shapes)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a value that is exactly one tensor, else ``None``."""
        return self.shapes[0] if len(self.shapes) == 1 else None


Facts = Mapping[fx.Node, Fact]


def fake_copy(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A deep copy of ``model`` whose parameters and buffers are fake: no memory, no data.

    Tracing and shape propagation work on such copies, so that whatever a forward writes on its
    modules (caches, counters) never reaches the caller's model.
    """
    memo: dict[int, Any] = {}
    with mode:
        for tensor in (*model.parameters(), *model.buffers()):
            fake: torch.Tensor = mode.from_tensor(tensor.detach())
            if isinstance(tensor, nn.Parameter):
                fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = fake
        return copy.deepcopy(model, memo)


def propagate(
    model: nn.Module,
    graph: fx.Graph,
    inputs: tuple[Any, ...],
    constants: Mapping[str, torch.Tensor],
) -> dict[fx.Node, Fact]:
    """Run ``graph`` in eval mode on a fake copy of ``model`` and note a fact for every node.

    Args:
        model: the module the graph was traced from; it is not changed.
        inputs: one example value for each placeholder.
        constants: tensors the graph reads beside the model's own parameters and buffers.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    root = fake_copy(model, mode).eval()
    vars(root).update(constants)
    with mode, torch.no_grad():
        fakes = [mode.from_tensor(x) if isinstance(x, torch.Tensor) else x for x in inputs]
        recorder = _Recorder(root, graph)
        recorder.run(*fakes)
    return recorder.facts


class _Recorder(fx.Interpreter):
    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.facts: dict[fx.Node, Fact] = {}
        self.kept: list[Any] = []  # storage ids are addresses: nothing may be freed meanwhile

    def run_node(self, n: fx.Node) -> Any:
        before = [
            (tensor, tensor._version)
            for parent in n.all_input_nodes
            for tensor in tensors_in(self.env.get(parent))
        ]
        with _MacCounter() as counter:
            result = super().run_node(n)
        self.kept.append(result)
        tensors = tuple(tensors_in(result))
        self.facts[n] = Fact(
            shapes=tuple(tuple(t.shape) for t in tensors),
            storages=tuple(_storage(t) for t in tensors),
            writes=frozenset(_storage(t) for t, version in before if t._version != version),
            macs=counter.flops // 2,
            value=None if tensors else result,
        )
        return result


class _MacCounter(TorchDispatchMode):
    """Counts with the formulas of ``torch.utils.flop_counter`` (two per multiply-add)."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet is _CPU_ATTENTION:  # no formula of its own (pytorch #195460)
            query, key, value = (tensor.shape for tensor in args[:3])
            self.flops += sdpa_flop_count(query, key, value)
        elif packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        return result


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors inside nested tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
