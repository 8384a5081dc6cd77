"""The multiply-adds and parameters of every skip config, from one counting pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..adaptive.gates import fold
from ..adaptive.model import AdaptiveModel
from ..errors import MeasureError
from ..skip import SkipConfig
from .count import count_nodes


@dataclass(frozen=True)
class ConfigMacs:
    """What one skip config costs.

    Attributes:
        skip: the config.
        macs: multiply-adds for one sample (divide by 1e9 for GMACs; papers print those as GFLOPs).
        ratio: ``macs`` as a share of the super-net's.
        params: parameters (numbers, not tensors) that the config uses; a twin norm counts instead
            of its original, and a shared parameter once.
    """

    skip: SkipConfig
    macs: int
    ratio: float
    params: int

    @property
    def gmacs(self) -> float:
        """``macs`` in units of 1e9."""
        return self.macs / 1e9


@dataclass(frozen=True)
class MacTable:
    """What each skip config of one network costs for one sample.

    Attributes:
        input_shapes: shape of each input, batch of one included.
        configs: one entry for each config asked for, super-net first.
        by_operator: multiply-adds of the super-net for each operator.
        uncounted: operators of the super-net that add nothing, with how often they are called.
    """

    input_shapes: tuple[tuple[int, ...], ...]
    configs: tuple[ConfigMacs, ...]
    by_operator: Mapping[str, int]
    uncounted: Mapping[str, int]

    def __getitem__(self, skip: str) -> ConfigMacs:
        """The entry of one config."""
        for entry in self.configs:
            if entry.skip == skip:
                return entry
        known = ", ".join(entry.skip for entry in self.configs[:8])
        raise MeasureError(f"got config {skip!r}; expected one that was counted: {known}, ...")


def count_macs(
    model: AdaptiveModel, example_input: Any = None, *, skips: Iterable[str] | None = None
) -> MacTable:
    """Count every skip config of an adaptive model: what runs in it, added up.

    The super-net is run and counted once, on the CPU and in eval mode, each node of its graph
    apart; a config costs what its nodes cost (Kang and Lee, tables 1 and 2, count the same way).
    See :mod:`subpath.measure.operators` for what is counted.

    Args:
        model: the adaptive model, on any device; it is left as it was.
        example_input: a tensor, or a tuple of all inputs, batch first; the first sample counts.
            By default images of the size the model was converted with.
        skips: the configs to list; by default all ``2**S``.

    Raises:
        MeasureError: the model cannot be run or traced by torch.jit.
        SkipConfigError: one of ``skips`` is not a config of this model.
    """
    gated, root = model._graphs[False], model._root
    inputs = one_sample(model, example_input)
    stages = len(model.stages)
    if skips is None:
        skips = model.skip_configs()
    configs = [SkipConfig(skip, stages) for skip in skips]
    total, by_node = count_nodes(root, gated.graph, inputs)
    entries = []
    for config in configs:
        graph = fold(gated, config)  # its nodes have the names of those they are copies of
        macs = sum(by_node.get(node.name, 0) for node in graph.nodes)
        ratio = macs / total.macs if total.macs else 1.0
        entries.append(ConfigMacs(config, macs, ratio, count_parameters(root, graph)))
    return MacTable(
        input_shapes=tuple(tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)),
        configs=tuple(entries),
        by_operator=total.by_operator,
        uncounted=total.uncounted,
    )


def count_parameters(root: nn.Module, graph: fx.Graph) -> int:
    """How many numbers the parameters hold that ``graph`` uses on ``root``, each counted once."""
    used: dict[int, nn.Parameter] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            parameters = root.get_submodule(str(node.target)).parameters()
            used.update((id(parameter), parameter) for parameter in parameters)
        elif node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            value = getattr(root.get_submodule(owner), name)
            if isinstance(value, nn.Parameter):
                used[id(value)] = value
    return sum(parameter.numel() for parameter in used.values())


def example_shape(model: AdaptiveModel) -> tuple[int, ...]:
    """Shape of the first input that the model was converted with, without the batch."""
    tensors = (x for x in one_sample(model, None) if isinstance(x, torch.Tensor))
    return tuple(next(tensors).shape[1:])


def one_sample(model: AdaptiveModel, example_input: Any) -> tuple[Any, ...]:
    """The first sample of the inputs, on the CPU; by default of the size at conversion."""
    if example_input is not None:
        given = example_input if isinstance(example_input, (tuple, list)) else (example_input,)
        return tuple(x[:1].cpu() if isinstance(x, torch.Tensor) else x for x in given)
    gated = model._graphs[False]
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    facts = [gated.facts[node] for node in gated.graph.find_nodes(op="placeholder")]
    return tuple(
        torch.zeros((1, *fact.shape[1:]), dtype=dtype) if fact.shape else fact.value
        for fact in facts
    )
