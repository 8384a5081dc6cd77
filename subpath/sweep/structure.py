"""Examine one network: how it is cut, what that saves, is it still the same?

Networks without data are made and run quickly, whatever their size. One that computes with values
while it is made or run is examined with random weights, and run with a small input. Networks that
their library makes small have weights, and their numbers are compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from .. import zoo
from ..adaptive.graph_model import GraphModel
from ..adaptive.in_place import InPlaceModel
from ..adaptive.internals import graphs_for, network_in
from ..adaptive.model import AdaptiveModel
from ..conversion import convert
from ..errors import ModelError, NoResidualError, TraceError
from ..graph.inputs import Inputs, in_order
from ..graph.shapes import Quickly
from ..planning import Plan
from ..skip import SkipConfig
from .call_log import Calls, first_difference, log_calls
from .errors import OnPhase, OriginalFailsError, no_report, one_line, original_runs
from .parity import ALWAYS, ask, same_every_time
from .record import Check, Record, StageDepth
from .subject import make_original, make_subject, noise, smallest_input


@dataclass(frozen=True)
class Pair:
    """A network, what it was converted to, and an input of both, on the meta device or the CPU."""

    original: nn.Module
    adaptive: AdaptiveModel
    inputs: tuple[torch.Tensor, ...]
    tables: dict[str, torch.Tensor]

    @property
    def base(self) -> SkipConfig:
        """The config of the base-net."""
        return SkipConfig.base_net(len(self.adaptive.stages))

    @property
    def has_data(self) -> bool:
        """Whether it is not on the meta device."""
        return not self.inputs[0].is_meta


def examine(library: str, name: str, on_phase: OnPhase = no_report) -> Record:
    """Convert one network and ask whether it is still the same.

    Args:
        library: a key of :data:`subpath.zoo.LIBRARIES`.
        name: the network.
        on_phase: is told what is being done.

    Returns:
        The record; whatever goes wrong is written there.
    """
    start = time.perf_counter()
    record = blank(library, name)
    try:
        small = zoo.library(library).small
        record = (_with_numbers if small else _without_numbers)(record, on_phase)
    except NoResidualError as error:
        record = replace(record, outcome="no-residual", reason=str(error))
    except Exception as error:  # other people's code in every shape
        record = replace(record, outcome="failed", reason=one_line(error))
    return replace(record, seconds=round(time.perf_counter() - start, 2))


def _without_numbers(record: Record, on_phase: OnPhase) -> Record:
    pair = pair_of(record.library, record.name, on_phase)
    record = _described(record, pair.adaptive, Inputs(pair.inputs))
    return replace(record, checks=dict(_checks(record, pair, on_phase)))


def _with_numbers(record: Record, on_phase: OnPhase) -> Record:
    with same_every_time():
        on_phase("converting")
        subject = make_subject(zoo.library(record.library), record.name)
        record = _described(record, subject.adaptive, subject.example)
        return replace(record, checks=ask(subject, ALWAYS, on_phase))


def blank(library: str, name: str) -> Record:
    """The record of a network before it is examined."""
    known = zoo.library(library)
    return Record(
        library=library,
        versions={library: known.version, "torch": torch.__version__},
        name=name,
        family=known.family(name),
        part=known.part(name),
    )


def pair_of(library: str, name: str, on_phase: OnPhase) -> Pair:
    """The network and what it is converted to, without data if it allows that.

    Raises:
        SubpathError: it cannot be made or converted.
    """
    try:
        return _pair("meta", library, name, on_phase)
    except NoResidualError:
        raise
    except TraceError:  # it computes with values
        return _pair("cpu", library, name, on_phase)


def _pair(device: str, library: str, name: str, on_phase: OnPhase) -> Pair:
    known = zoo.library(library)
    on_phase("making")
    try:
        with torch.device(device), Quickly():
            model = known.make(name).eval()
    except ModelError:  # making it computes with values (torchvision's RegNets)
        model = known.make(name).eval().to(device)
    with torch.device(device):
        inputs = known.inputs(name, model).args
    if device == "cpu":
        inputs = tuple(noise(tuple(x.shape)) for x in inputs)
    on_phase("converting")
    return _converted(model, inputs, device)


def _small_pair(record: Record, plan: Plan) -> Pair:
    """The network with random weights and the smallest input it takes, cut in the same way."""
    library = zoo.library(record.library)
    arguments, shape = smallest_input(library, record.name, "cpu")
    model = make_original(library, record.name, arguments)
    return _converted(model, (noise((2, *shape)),), "cpu", plan)


def _converted(
    model: nn.Module, inputs: tuple[torch.Tensor, ...], device: str, plan: Plan | None = None
) -> Pair:
    adaptive = convert(model, inputs, plan=plan)
    if isinstance(adaptive, GraphModel):
        graphs_for(adaptive, inputs)  # so that nothing is traced while calls are written down
    own = dict(model.named_buffers())
    tables = {n: t for n, t in adaptive.named_buffers() if n not in own and not t.is_meta}
    tables = {name: table.clone() for name, table in tables.items()}
    return Pair(model.to(device), adaptive.to(device), inputs, tables)


def macs_of(adaptive: AdaptiveModel, inputs: Inputs) -> tuple[int, int]:
    """Multiply-adds of super-net and base-net for these inputs, batch and all."""
    stages = len(adaptive.stages)
    ends = SkipConfig.super_net(stages), SkipConfig.base_net(stages)
    if isinstance(adaptive, InPlaceModel):
        whole, base = (adaptive.work(config, inputs).total for config in ends)
    else:
        assert isinstance(adaptive, GraphModel)
        positional = in_order(network_in(adaptive), inputs)
        assert positional is not None
        whole, base = map(graphs_for(adaptive, positional)[False].macs, ends)
    return whole, base


def _described(record: Record, adaptive: AdaptiveModel, inputs: Inputs) -> Record:
    plan = adaptive.plan
    # The multiply-adds of AdaptiveModel.share_of_work, which counts the example batch.
    whole, base = macs_of(adaptive, inputs)
    shapes = tuple(tuple(x.shape) for x in inputs.tensors())
    first = next(iter((*inputs.args, *inputs.kwargs.values())))
    samples = len(first) if isinstance(first, list) else shapes[0][0]
    return replace(
        record,
        outcome="converted",
        run=plan.run,
        why=plan.why,
        inputs=shapes,
        stages=tuple(StageDepth(s.name, len(s.blocks), len(s.skippable)) for s in plan.stages),
        gmacs_super=whole / samples / 1e9,
        gmacs_base=base / samples / 1e9,
        twin_norms=len(plan.twin_norms),
        opaque={item.path: item.reason for item in plan.opaque},
    )


def _checks(record: Record, pair: Pair, on_phase: OnPhase) -> Iterator[tuple[str, Check]]:
    yield "each stage saves", _each_stage_saves(pair)
    yield "same keys", _same_keys(pair)
    for mode, training in (("eval", False), ("train", True)):
        on_phase(f"running in {mode} mode")
        try:
            same, base = _run(pair, training)
        except OriginalFailsError:  # it computes with values
            pair = pair if pair.has_data else _small_pair(record, pair.adaptive.plan)
            same, base = _run_or_say_why(pair, training)
        yield f"same calls, {mode}", same
        yield f"base-net runs, {mode}", base


def _each_stage_saves(pair: Pair) -> Check:
    stages = len(pair.adaptive.stages)
    for number, stage in enumerate(pair.adaptive.stages):
        config = SkipConfig.of([number], stages)
        if pair.adaptive.share_of_work(config) >= 1:
            return Check(False, f"skipping stage {stage.name} saves no multiply-adds")
    return Check(True)


def _same_keys(pair: Pair) -> Check:
    original, converted = pair.original.state_dict(), pair.adaptive.state_dict()
    for key, value in original.items():
        if key not in converted or converted[key].shape != value.shape:
            return Check(False, f"{key} is missing or has another shape")
    added = converted.keys() - original.keys()
    foreign = sorted(key for key in added if not key.startswith("twin_norms."))
    return Check(not foreign, ", ".join(foreign[:3]))


def _run_or_say_why(pair: Pair, training: bool) -> tuple[Check, Check]:
    try:
        return _run(pair, training)
    except OriginalFailsError as error:
        refused = Check(None, str(error))
        return refused, refused


def _run(pair: Pair, training: bool) -> tuple[Check, Check]:
    """Whether the super-net makes the same calls, and whether the base-net runs."""
    with _mode(pair, training):
        with original_runs():
            expected = log_calls(pair.original, pair.inputs)
        return _same_calls(pair, expected), _base_net_runs(pair, _form(expected.output))


def _same_calls(pair: Pair, expected: Calls) -> Check:
    try:
        got = log_calls(pair.adaptive, pair.inputs, pair.tables)
    except Exception as error:  # it runs the network's own code
        return Check(False, one_line(error))
    difference = first_difference(expected, got)
    return Check(not difference, difference)


def _base_net_runs(pair: Pair, expected: str) -> Check:
    try:
        with Quickly():
            got = _form(pair.adaptive(*pair.inputs, skip=pair.base))
    except Exception as error:  # it runs the network's own code
        return Check(False, one_line(error))
    return Check(got == expected, "" if got == expected else f"gives {got}; expected {expected}")


@contextmanager
def _mode(pair: Pair, training: bool) -> Iterator[None]:
    pair.original.train(training)
    pair.adaptive.train(training)
    with torch.device(pair.inputs[0].device), torch.set_grad_enabled(training):
        yield


def _form(output: Any) -> str:
    return str(tree_map_only(torch.Tensor, lambda t: (str(t.dtype), tuple(t.shape)), output))
