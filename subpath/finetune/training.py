"""One phase of a run from its first epoch, or from a checkpoint, to its last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..distill import average_statistics
from ..errors import CheckpointError
from .callback import Callback
from .engine import Training, train_epoch
from .loss_meter import LossMeter
from .phase import PhaseSection
from .recipe import Recipe
from .resume import write_checkpoint
from .run_directory import append_to_log
from .sharding import in_parts, optimiser_in_parts, whole

PHASES = ("train", "finetune")


Metrics = Mapping[str, Mapping[str, float]]
"""For each skip config, or the original, its metrics by name."""


@dataclass(frozen=True)
class Goodness:
    """How the best epoch is told.

    Attributes:
        metric: whose mean over the networks counts.
        rising: whether more of it is better.
    """

    metric: str = "top1"
    rising: bool = True

    def of(self, metrics: Metrics) -> float:
        """The more, the better."""
        mean = sum(found[self.metric] for found in metrics.values()) / len(metrics)
        return mean if self.rising else -mean


@dataclass
class Checkpointer:
    """What writes and reads the state of the training.

    Attributes:
        folder: of the run.
        recipe: of the run.
        saved: the checkpoint to go on from, if any.
    """

    folder: Path
    recipe: Recipe
    saved: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        if self.saved is not None and self.saved["recipe"] != self._recipe():
            raise CheckpointError(
                f"got a checkpoint in {self.folder} that belongs to another run; expected the one "
                "that this run wrote. Take it away, or begin anew with --overwrite"
            )

    def save(self, training: Training, epoch: int, meter: LossMeter, best: float) -> None:
        """Write where the training is: in ``epoch`` (from 0), with what ``meter`` has seen."""
        updater = training.updater
        average_statistics(updater.model)
        weights = whole(updater.model.state_dict())
        optimiser = whole(updater.optimiser.state_dict())
        if not updater.processes.first:
            return
        scaler = updater.processes.accelerator.scaler
        state = {
            "recipe": self._recipe(),
            "processes": updater.processes.count,
            "phase": training.name,
            "epoch": epoch,
            "updates": updater.done,
            "model": weights,
            "optimiser": optimiser,
            "ema": updater.ema.module.state_dict() if updater.ema is not None else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "meter": meter.state(),
            "best": best,
        }
        write_checkpoint(self.folder, PHASES.index(training.name), updater.done, state)

    def is_past(self, phase: str) -> bool:
        """Whether the checkpoint is of a later phase."""
        return self.saved is not None and PHASES.index(self.saved["phase"]) > PHASES.index(phase)

    def restore(self, training: Training, meter: LossMeter) -> tuple[int, float]:
        """Bring a fresh training to where the checkpoint is; its epoch, and the best so far."""
        state, updater = self.saved, training.updater
        if state is None or state["phase"] != training.name:
            return 0, -math.inf
        if state["processes"] != updater.processes.count:
            raise CheckpointError(
                f"got {updater.processes.count} processes, and a checkpoint of "
                f"{state['processes']}; expected as many as the run began with"
            )
        updater.model.load_state_dict(in_parts(state["model"], updater.model.state_dict()))
        optimiser = optimiser_in_parts(state["optimiser"], updater.optimiser)
        updater.optimiser.load_state_dict(optimiser)
        _as_before(updater.optimiser)
        updater.done = state["updates"]
        if updater.ema is not None:
            updater.ema.module.load_state_dict(state["ema"])
        scaler = updater.processes.accelerator.scaler
        if scaler is not None:
            scaler.load_state_dict(state["scaler"])
        meter.load_state(state["meter"])
        return int(state["epoch"]), float(state["best"])

    def _recipe(self) -> dict[str, Any]:
        free: Any = {"output": True, "data": {"root", "workers"}}
        return self.recipe.model_dump(mode="json", exclude=free)


def run_phase(
    training: Training,
    phase: PhaseSection,
    evaluate: Callable[[], Metrics],
    checkpointer: Checkpointer,
    callback: Callback,
    better: Callable[[], None] | None = None,
    goodness: Goodness = Goodness(),
) -> None:
    """All epochs of a phase, one line in the log and one checkpoint for each.

    Args:
        training: the phase, at its start.
        phase: what the recipe says.
        evaluate: metrics on validation data.
        checkpointer: writes and reads checkpoints.
        callback: is told about the progress.
        better: called when an epoch is the best so far.
        goodness: tells whether it is.

    Raises:
        RunError: a loss is not finite.
        CheckpointError: a checkpoint cannot be written, or does not fit.
    """
    updater, processes = training.updater, training.updater.processes
    meter = LossMeter(processes.device)
    start, best = checkpointer.restore(training, meter)
    per_epoch = training.updates_per_epoch
    together = phase.batch_size * phase.accumulate * processes.count
    callback.begin(training.name, phase.epochs, per_epoch, together, updater.done)
    try:
        for epoch in range(start, phase.epochs):
            save = partial(checkpointer.save, training, epoch, meter, best)
            losses = train_epoch(
                training, epoch, meter, callback, save, checkpointer.recipe.save_every
            )
            average_statistics(updater.kept)
            metrics = evaluate()
            if processes.first:
                record = {"phase": training.name, "epoch": epoch + 1, "lr": meter.rate}
                record |= {**asdict(losses), **_by_name(metrics)}
                append_to_log(checkpointer.folder, record)
                callback.epoch(record)
            if better is not None and goodness.of(metrics) > best:
                best = goodness.of(metrics)
                better()
            meter = LossMeter(processes.device)
            checkpointer.save(training, epoch + 1, meter, best)
    finally:
        callback.end()


def _by_name(metrics: Metrics) -> dict[str, dict[str, float]]:
    """``{"top1": {"FFFF": ..., "TTTT": ...}}``."""
    names = dict.fromkeys(name for found in metrics.values() for name in found)
    return {name: {which: found[name] for which, found in metrics.items()} for name in names}


def _as_before(optimiser: torch.optim.Optimizer) -> None:
    """Give the optimiser's tensors the memory layout of their weights, on which sums depend."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
