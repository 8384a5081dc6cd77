"""Where in a network the multiply-adds are: stage by stage, mandatory and skippable apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..adaptive.folding import fold
from ..adaptive.graph_model import GraphModel
from ..adaptive.in_place import InPlaceModel
from ..adaptive.internals import graphs_for, network_in
from ..adaptive.model import AdaptiveModel
from ..graph.inputs import Inputs
from ..graph.read import read_run
from ..planning import Plan
from ..skip import SkipConfig
from .macs import count_all_nodes, one_sample


@dataclass(frozen=True)
class Part:
    """A stage, or what lies before, between or after stages.

    Attributes:
        name: the stage's name, or the modules that compute here.
        stage: number of the stage, from 0; ``None`` for what is no stage.
        mandatory: multiply-adds for one sample that always run.
        skippable: those that a ``T`` of this stage takes away.
    """

    name: str
    stage: int | None
    mandatory: int
    skippable: int = 0


@dataclass(frozen=True)
class Parts:
    """The network in the order in which it runs.

    Attributes:
        parts: stages, and what lies around them if it has multiply-adds.
        macs: multiply-adds of the super-net for one sample: the sum of all parts.
    """

    parts: tuple[Part, ...]
    macs: int

    def share(self, macs: int) -> float:
        """A number of multiply-adds as a share of the super-net's."""
        return macs / self.macs if self.macs else 0.0


def parts_of(model: AdaptiveModel, example_input: Any = None) -> Parts:
    """Count what each stage and what lies around them needs; the model is left as it was.

    Args:
        model: the adaptive model, on any device.
        example_input: as for :func:`count_macs`.

    Raises:
        MeasureError: the model cannot be run or traced by torch.jit.
    """
    plan = model.plan
    stages = len(plan.stages)
    if isinstance(model, InPlaceModel):
        steps, saved = _steps_in_place(model, one_sample(model, example_input))
    else:
        assert isinstance(model, GraphModel)
        steps, saved = _steps_of_graph(model, one_sample(model, example_input).args)
    macs_of_all = sum(macs for _, macs in steps)
    inside = [0] * stages
    around: list[dict[str, int]] = [{} for _ in range(stages + 1)]
    begun = 0
    owner, path = None, ""
    for named, macs in steps:
        if named:  # what lies between two modules is the first's
            path = named
            owner = _stage_of(path, plan)
        if owner is not None:
            begun = max(begun, owner + 1)
            inside[owner] += macs
        elif macs:
            around[begun][path] = around[begun].get(path, 0) + macs
    found = _around(around[0])
    for number, stage in enumerate(plan.stages):
        skippable = saved[number]
        found.append(Part(stage.name, number, inside[number] - skippable, skippable))
        found += _around(around[number + 1])
    return Parts(tuple(found), macs_of_all)


# What runs, one step after the other: the module's path if it is a module's, and multiply-adds;
# and what each stage saves when it alone is skipped.
_Steps = tuple[list[tuple[str, int]], list[int]]


def _steps_of_graph(model: GraphModel, inputs: tuple[Any, ...]) -> _Steps:
    gated = graphs_for(model)[False]
    total, macs_of = count_all_nodes(model, inputs)
    steps = [
        (str(node.target) if node.op in ("call_module", "get_attr") else "", macs_of(node))
        for node in gated.graph.nodes
    ]
    kept = [
        sum(map(macs_of, fold(gated, config).nodes)) for config in _one_skipped(len(model.stages))
    ]
    return steps, [total.macs - macs for macs in kept]


def _steps_in_place(model: InPlaceModel, inputs: Inputs) -> _Steps:
    traced = read_run(network_in(model), inputs).tree.residual.traced
    steps = [
        (calls[-1].path if calls else "", traced.facts[node].macs)
        for node, calls in traced.calls.items()
    ]
    whole = model.work(SkipConfig.super_net(len(model.stages)), inputs).total
    kept = [model.work(config, inputs).total for config in _one_skipped(len(model.stages))]
    return steps, [whole - macs for macs in kept]


def _one_skipped(stages: int) -> list[SkipConfig]:
    return [SkipConfig.of([n], stages) for n in range(stages)]


def _stage_of(path: str, plan: Plan) -> int | None:
    """The stage that has the innermost block around the module at ``path``."""
    owners = [
        (len(block), number)
        for number, stage in enumerate(plan.stages)
        for block in stage.blocks
        if f"{path}.".startswith(f"{block}.")
    ]
    return max(owners)[1] if owners else None


def _around(macs: Mapping[str, int]) -> list[Part]:
    return [Part(_name(list(macs)), None, sum(macs.values()))] if macs else []


def _name(paths: Sequence[str]) -> str:
    """The module that holds them all, or the outermost modules."""
    split = [path.split(".") for path in paths]
    common = []
    for level in zip(*split, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    if common:
        return ".".join(common)
    outermost = list(dict.fromkeys(words[0] for words in split))
    return ", ".join(outermost[:3]) + (", ..." if len(outermost) > 3 else "")
