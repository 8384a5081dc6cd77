"""The multiply-adds and parameters of every skip config, from one counting pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..adaptive.folding import fold
from ..adaptive.graph_model import GraphModel
from ..adaptive.in_place import InPlaceModel
from ..adaptive.internals import example_for, graphs_for, network_in
from ..adaptive.model import AdaptiveModel
from ..adaptive.module_paths import addition_path, patch_path
from ..errors import MeasureError
from ..graph.inputs import Inputs
from ..progress import OnProgress, first_of, no_progress
from ..skip import SkipConfig
from .count import Count, count_nodes

_COUNTING = "counting multiply-adds of each config"


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
    model: AdaptiveModel,
    example_input: Any = None,
    *,
    skips: Iterable[str] | None = None,
    on_progress: OnProgress = no_progress,
) -> MacTable:
    """Count every skip config of an adaptive model: what runs in it, added up.

    The super-net is run and counted once, on the CPU and in eval mode, each node of its graph
    apart; a config costs what its nodes cost (Kang and Lee, tables 1 and 2, count the same way).
    See :mod:`subpath.measure.operators` for what is counted. A network that runs in place is run
    once for each config and counted by the formulas of ``torch.utils.flop_counter``.

    Args:
        model: the adaptive model, on any device; it is left as it was.
        example_input: a tensor, or a tuple of all inputs, batch first; the first sample counts.
            By default images of the size the model was converted with.
        skips: the configs to list; by default all ``2**S``.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Raises:
        MeasureError: the model cannot be run or traced by torch.jit.
        SkipConfigError: one of ``skips`` is not a config of this model.
    """
    stages = len(model.stages)
    if skips is None:
        skips = model.skip_configs()
    configs = [SkipConfig(skip, stages) for skip in skips]
    if isinstance(model, InPlaceModel):
        counting = first_of(configs, None, _COUNTING, on_progress)
        return _count_in_place(model, one_sample(model, example_input), counting)
    assert isinstance(model, GraphModel)
    gated, root = graphs_for(model)[False], network_in(model)
    inputs = one_sample(model, example_input).args
    total, macs_of = count_all_nodes(model, inputs)
    entries = []
    for config in first_of(configs, None, _COUNTING, on_progress):
        graph = fold(gated, config)
        macs = sum(map(macs_of, graph.nodes))
        ratio = macs / total.macs if total.macs else 1.0
        entries.append(ConfigMacs(config, macs, ratio, count_parameters(root, graph)))
    return MacTable(
        input_shapes=tuple(tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)),
        configs=tuple(entries),
        by_operator=total.by_operator,
        uncounted=total.uncounted,
    )


def count_all_nodes(
    model: GraphModel, inputs: tuple[Any, ...]
) -> tuple[Count, Callable[[fx.Node], int]]:
    """What the super-net costs, and what each node of any config's folded graph does.

    Raises:
        MeasureError: the model cannot be run or traced by torch.jit.
    """
    gated, root = graphs_for(model)[False], network_in(model)
    total, by_node = count_nodes(root, gated.graph, inputs)
    added: dict[str, int] = {}
    if gated.patches or gated.additions:
        base = fold(gated, SkipConfig.base_net(len(model.stages)))
        counted = count_nodes(root, base, inputs)[1]
        paths = {patch_path(patch) for patch in gated.patches.values()}
        paths |= {addition_path(addition) for addition in gated.additions.values()}
        added = {str(n.target): counted[n.name] for n in base.nodes if str(n.target) in paths}

    def macs_of(node: fx.Node) -> int:  # it has the name of the node that it is a copy of
        return added.get(str(node.target), by_node.get(node.name, 0))

    return total, macs_of


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


def one_sample(model: AdaptiveModel, example_input: Any) -> Inputs:
    """The first sample of the inputs, on the CPU; by default of the size at conversion."""
    inputs = example_for(model, example_input)
    batch = next((len(tensor) for tensor in inputs.tensors() if tensor.ndim), 1)

    def first(tensor: torch.Tensor) -> torch.Tensor:
        alone = tensor[:1] if tensor.ndim and len(tensor) == batch else tensor
        return torch.zeros(alone.shape, dtype=alone.dtype) if alone.is_meta else alone.cpu()

    return inputs.map(first)


def _count_in_place(model: InPlaceModel, inputs: Inputs, configs: Iterable[SkipConfig]) -> MacTable:
    try:
        whole = model.work(SkipConfig.super_net(len(model.stages)), inputs)
        works = {config: model.work(config, inputs) for config in configs}
    except Exception as error:  # the network's own code runs here
        raise MeasureError(
            f"got an error while counting multiply-adds: {type(error).__name__}: {error}. "
            "Expected a network that runs with the first sample of the example input"
        ) from error
    return MacTable(
        input_shapes=tuple(tuple(tensor.shape) for tensor in inputs.tensors()),
        configs=tuple(
            ConfigMacs(
                skip=config,
                macs=work.total,
                ratio=work.total / whole.total if whole.total else 1.0,
                params=sum(p.numel() for p in model.parameters_of(config)),
            )
            for config, work in works.items()
        ),
        by_operator=dict(whole.macs.most_common()),
        uncounted=dict(sorted(whole.others.items())),
    )
