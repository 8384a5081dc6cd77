"""Where in a network the multiply-adds are: stage by stage, mandatory and skippable apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..adaptive.gates import fold
from ..adaptive.model import AdaptiveModel
from ..plan import Plan
from ..skip import SkipConfig
from .count import count_nodes
from .macs import one_sample


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
    gated, plan = model._graphs[False], model.plan
    stages = len(plan.stages)
    total, by_node = count_nodes(model._root, gated.graph, one_sample(model, example_input))
    inside = [0] * stages
    around: list[dict[str, int]] = [{} for _ in range(stages + 1)]
    begun = 0
    owner, path = None, ""
    for node in gated.graph.nodes:
        if node.op in ("call_module", "get_attr"):  # what lies between two modules is the first's
            path = str(node.target)
            owner = _stage_of(path, plan)
        macs = by_node[node.name]
        if owner is not None:
            begun = max(begun, owner + 1)
            inside[owner] += macs
        elif macs:
            around[begun][path] = around[begun].get(path, 0) + macs
    found = _around(around[0])
    for number, stage in enumerate(plan.stages):
        config = SkipConfig("F" * number + "T" + "F" * (stages - number - 1))
        kept = sum(by_node.get(node.name, 0) for node in fold(gated, config).nodes)
        skippable = total.macs - kept
        found.append(Part(stage.name, number, inside[number] - skippable, skippable))
        found += _around(around[number + 1])
    return Parts(tuple(found), total.macs)


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
