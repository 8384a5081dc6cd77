"""What each block is worth: the loss without it, and whether it refines what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from ..conversion import convert, plan
from ..errors import MeasureError, PlanError
from ..graph.copies import deep_copy, without_hooks
from ..graph.inputs import Inputs, as_inputs, inputs_in
from ..planning import HandBack, Plan, StageEnd, StagePlan
from ..progress import OnProgress, first_of, no_progress
from ..skip import SkipConfig


@dataclass(frozen=True)
class BlockSensitivity:
    """One block, when it alone is skipped.

    Attributes:
        name: the block.
        stage: the stage that it is in.
        macs: its multiply-adds as a share of the network's.
        loss: of the network without it.
        added_loss: ``loss`` less that of the whole network.
        relative_change: ``|F(h)| / |h|``, the mean over samples: how much it changes its stream.
            ``None``: its stream cannot be seen.
        first_order: ``F(h) . dL/dh`` at ``h``, summed over the elements of a sample and averaged
            over samples: what the block does to the loss, to first order (Kang and Lee, section
            3.3). Below 0 it refines: it goes down the gradient. ``None``: not to be had.
        cosine: of ``F(h)`` and ``dL/dh``, the mean over samples.
    """

    name: str
    stage: str
    macs: float
    loss: float
    added_loss: float
    relative_change: float | None
    first_order: float | None
    cosine: float | None


@dataclass(frozen=True)
class Sensitivity:
    """What each block of a network is worth.

    Attributes:
        blocks: every block that can be skipped, in execution order.
        loss: of the whole network.
        samples: how many inputs it was measured on.
    """

    blocks: tuple[BlockSensitivity, ...]
    loss: float
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists, dicts, strings and numbers."""
        return asdict(self)

    def least_hurt(self, max_macs: float) -> list[str]:
        """The blocks to skip so that a share of at most ``max_macs`` is left, for ``convert``.

        Those come first whose added loss is smallest for the multiply-adds that they save. (Losses
        of blocks skipped together do not add up; compare the result with the default cut.)

        Args:
            max_macs: multiply-adds of the base-net, as a share of the network's.

        Raises:
            MeasureError: so little cannot be reached.
        """
        chosen: list[str] = []
        left = 1.0
        for block in sorted(self.blocks, key=lambda b: b.added_loss / max(b.macs, 1e-12)):
            if left <= max_macs:
                break
            chosen.append(block.name)
            left -= block.macs
        if left > max_macs + 1e-9:
            raise MeasureError(
                f"got max_macs={max_macs}; expected at least {left:.3f}, the share of MACs that "
                "is left when every block that can be skipped is"
            )
        return chosen


def sensitivity(
    model: nn.Module,
    loader: Iterable[tuple[Any, Any]],
    criterion: Callable[[Any, Any], Tensor],
    example_input: Any = None,
    *,
    batches: int | None = None,
    on_progress: OnProgress = no_progress,
) -> Sensitivity:
    """Skip each block alone, and look at the loss and at what the block adds to its stream.

    Args:
        model: the original network, not converted; it is left as it was.
        loader: batches of inputs and targets; the inputs a tensor, or a dict of them by name.
        criterion: the loss, averaged over a batch: ``criterion(output, targets)``.
        example_input: as for :func:`subpath.convert`; default: the first batch's inputs.
        batches: how many to take; default: all.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Raises:
        NoResidualError: no block can be skipped.
        MeasureError: there is no batch.
    """
    taken = first_of(loader, batches, "skipping each block alone", on_progress)
    first = next(taken, None)
    if first is None:
        raise MeasureError("got no batch; expected batches of inputs and targets")
    example = first[0] if example_input is None else example_input
    whole = _with_all(model, example)
    alone = _each_alone(whole, _first_calls(model, example, whole))
    adaptive = convert(model, example, plan=alone).eval()
    for parameter in adaptive.parameters():  # so that there is a graph down to every block
        parameter.requires_grad_(parameter.is_floating_point())
    measured = _Measurement(adaptive, criterion)
    for inputs, targets in chain([first], taken):
        measured.add(inputs_in(inputs, next(adaptive.parameters())), targets)
    stage_of = {name: stage.name for stage in whole.stages for name in stage.skippable}
    return measured.result(stage_of)


class _Measurement:
    """Sums over samples."""

    def __init__(self, model: AdaptiveModel, criterion: Callable[[Any, Any], Tensor]) -> None:
        self._model, self._criterion = model, criterion
        self._sees_streams = None not in (model.plan.ends or (0,))
        self.samples = 0
        self._loss = 0.0
        blocks = len(model.stages)
        self._losses, self._changes = [0.0] * blocks, [0.0] * blocks
        self._products: list[float | None] = [0.0] * blocks
        self._cosines = [0.0] * blocks

    def add(self, inputs: Inputs, targets: Any) -> None:
        """Count one batch."""
        size, blocks = len(next(inputs.tensors())), len(self._model.stages)
        if isinstance(targets, Tensor):
            targets = targets.to(next(self._model.parameters()).device)
        whole = SkipConfig.super_net(blocks)
        configs = [whole, *(SkipConfig.of([number], blocks) for number in range(blocks))]
        kept: tuple[Tensor, ...] = ()
        with torch.set_grad_enabled(self._sees_streams):
            for config, found in self._model.outputs(
                *inputs.args, skips=configs, features=self._sees_streams, **inputs.kwargs
            ):
                output, streams = found if self._sees_streams else (found, ())
                loss = self._criterion(output, targets)
                if config == whole:  # it comes first
                    self._loss += size * loss.item()
                    kept = tuple(stream.detach() for stream in streams)
                    continue
                (number,) = config.skipped
                self._losses[number] += size * loss.item()
                if self._sees_streams:
                    self._add_stream(number, kept[number], streams[number], size * loss)
        self.samples += size

    def _add_stream(self, number: int, kept: Tensor, stream: Tensor, loss: Tensor) -> None:
        """``stream`` is ``h``, ``kept`` is ``h + F(h)``; the loss is summed over samples."""
        (gradient,) = torch.autograd.grad(loss, stream, allow_unused=True)
        with torch.no_grad():
            h, added = stream.flatten(1).double(), (kept - stream).flatten(1).double()
            tiny = torch.finfo(torch.float64).tiny
            change = added.norm(dim=1) / h.norm(dim=1).clamp(min=tiny)
            self._changes[number] += float(change.sum())
            product = self._products[number]
            if gradient is None or product is None:  # something writes into the stream later
                self._products[number] = None
                return
            slope = gradient.flatten(1).double()
            products = (added * slope).sum(1)
            sizes = (added.norm(dim=1) * slope.norm(dim=1)).clamp(min=tiny)
            self._products[number] = product + float(products.sum())
            self._cosines[number] += float((products / sizes).sum())

    def result(self, stage_of: Mapping[str, str]) -> Sensitivity:
        """The means."""
        model, n = self._model, self.samples
        found = []
        for number, block in enumerate(model.stages):
            name = block.skippable[0]
            config = SkipConfig.of([number], len(model.stages))
            product = self._products[number] if self._sees_streams else None
            found.append(
                BlockSensitivity(
                    name=name,
                    stage=stage_of[name],
                    macs=1 - model.share_of_work(config),
                    loss=self._losses[number] / n,
                    added_loss=(self._losses[number] - self._loss) / n,
                    relative_change=self._changes[number] / n if self._sees_streams else None,
                    first_order=None if product is None else product / n,
                    cosine=None if product is None else self._cosines[number] / n,
                )
            )
        return Sensitivity(tuple(found), self._loss / n, n)


def _with_all(model: nn.Module, example: Any) -> Plan:
    """The plan that skips every block that can be, in a row of equals too."""
    try:
        return plan(model, example, groups=1, skippable="all", twin_norms="none")
    except PlanError:  # it has stages of its own
        return plan(model, example, skippable="all", twin_norms="none")


def _first_calls(model: nn.Module, example: Any, found: Plan) -> list[str]:
    """The blocks in the order in which they are first called; the others after them."""
    names = [name for stage in found.stages for name in stage.skippable]
    called: dict[str, None] = {}
    network = without_hooks(deep_copy(model)).eval()
    modules = dict(network.named_modules())
    for name in names:
        if name in modules:
            modules[name].register_forward_pre_hook(lambda *_, name=name: called.setdefault(name))
    inputs = as_inputs(network, example)
    with torch.no_grad():
        network(*inputs.args, **inputs.kwargs)
    return sorted(names, key=lambda name: list(called).index(name) if name in called else 10**9)


def _each_alone(found: Plan, order: Sequence[str]) -> Plan:
    """The plan with a letter for each skippable block."""
    stage_of = {name: stage for stage in found.stages for name in stage.skippable}
    stages = tuple(
        StagePlan(name, (name,), (name,), stage_of[name].output_shape, stage_of[name].channel_dim)
        for name in order
    )
    ends: tuple[StageEnd | None, ...] = ()
    if found.run == "in place":
        ends = tuple(_end_of([h for h in found.hands_back if h.block == name]) for name in order)
    return replace(found, stages=stages, ends=ends)


def _end_of(parts: Sequence[HandBack]) -> StageEnd | None:
    """Where a block that is one call of one module returns its stream."""
    if len(parts) != 1:
        return None
    place = _first_input(parts[0].result)
    if place is None:
        return None
    return StageEnd(parts[0].path, parts[0].call, "returned", place, copied=False)


def _first_input(template: Any) -> tuple[Any, ...] | None:
    kind, *rest = template
    if kind == "input":
        return ()
    inner = enumerate(rest) if kind in ("tuple", "list") else rest[kind == "record" :]
    if kind in ("tuple", "list", "dict", "record"):
        for key, item in inner:
            place = _first_input(item)
            if place is not None:
                return (key, *place)
    return None
