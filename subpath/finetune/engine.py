"""The training loop: an epoch, batch by batch.

To follow a batch: :func:`train_epoch` takes it from the loader, mixes it (if the recipe says so),
lets ``learn`` add its gradients, which for an adaptive network are those of the two passes of
``distill``, and changes the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..distill import Outputs, two_pass_step
from ..distill.step import task_loss
from ..skip import SkipConfig, skip_configs
from .callback import Callback
from .config_runner import ConfigRunner, Read, call, in_single
from .criterion import Criterion, Mix, with_teacher
from .loader import SeededBatches, to_device
from .loss_meter import EpochLosses, LossMeter
from .recipe import DistillSection
from .seeds import Use, seed_of, set_seeds
from .weight_updates import WeightUpdater

# On an accelerator, losses are looked at every so many updates: looking waits for the device.
LOOK_EVERY = 50

Learn = Callable[[Any, Any, float, int], Mapping[str, Tensor]]


@dataclass
class Training:
    """A phase at work.

    Attributes:
        name: ``train`` or ``finetune``.
        batches: the training data.
        mix: what is done to a batch as a whole.
        learn: adds the gradients of a batch, ``learn(inputs, targets, weight, seed)``, and gives
            back its losses.
        updater: what changes the weights.
        accumulate: batches for one update.
        seeds: of the run and the phase.
        memory_format: of images.
    """

    name: str
    batches: SeededBatches
    mix: Mix
    learn: Learn
    updater: WeightUpdater
    accumulate: int
    seeds: tuple[int, ...]
    memory_format: torch.memory_format = torch.contiguous_format

    @property
    def updates_per_epoch(self) -> int:
        """WeightUpdater in an epoch; batches left over are not used."""
        return len(self.batches) // self.accumulate

    def place(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """A batch on the device."""
        device = self.updater.processes.device
        return to_device(inputs, device, self.memory_format), to_device(targets, device)


def train_epoch(
    training: Training,
    epoch: int,
    meter: LossMeter,
    callback: Callback,
    save: Callable[[], None] | None = None,
    save_every: int | None = None,
) -> EpochLosses:
    """One epoch, or what is left of it.

    Args:
        training: the phase.
        epoch: its number, from 0.
        meter: what has been seen of the epoch; it says where to go on.
        callback: gets told about every update.
        save: writes a checkpoint.
        save_every: after how many updates.

    Raises:
        RunError: a loss is not finite.
    """
    updater, processes = training.updater, training.updater.processes
    look_every = 1 if processes.device.type == "cpu" and processes.count == 1 else LOOK_EVERY
    updater.train_mode()
    if meter.batches == 0:
        meter.rate = updater.learning_rate
    batches = training.batches.epoch(epoch, start=meter.batches)
    first = meter.batches // training.accumulate
    for number in range(first + 1, training.updates_per_epoch + 1):
        updater.optimiser.zero_grad()
        for _ in range(training.accumulate):
            inputs, targets = training.place(*next(batches))
            place = (*training.seeds, epoch, meter.batches)
            set_seeds(seed_of(Use.STEP, *place, processes.rank))
            inputs, targets = training.mix(inputs, targets)
            config_seed = seed_of(Use.CONFIG, *place)  # the same on all processes
            losses = training.learn(inputs, targets, 1 / training.accumulate, config_seed)
            meter.add(losses, size_of(inputs))
        callback.batch(losses["loss"], updater.learning_rate)
        updater.step()
        saving = save is not None and save_every is not None and number % save_every == 0
        if saving or number % look_every == 0 or number == training.updates_per_epoch:
            meter.check(processes, training.name, epoch)
        if saving and save is not None and number < training.updates_per_epoch:
            save()
    return meter.means(processes)


def size_of(inputs: Any) -> int:
    """How many samples a batch has."""
    while isinstance(inputs, (Mapping, tuple)):
        inputs = next(iter(inputs.values() if isinstance(inputs, Mapping) else inputs))
    return len(inputs)


def task_learner(
    network: nn.Module, updater: WeightUpdater, criterion: Criterion, read: Read = in_single
) -> Learn:
    """The plain step that trains the original network; ``read`` prepares its output."""

    def learn(inputs: Any, targets: Any, weight: float, seed: int) -> dict[str, Tensor]:
        with updater.processes.autocast():
            output = call(network, inputs)
        loss = task_loss(read(output), targets, criterion)
        updater.processes.backward(weight * loss)
        return {"loss": loss.detach(), "task": loss.detach()}

    return learn


def distillation_learner(
    student: ConfigRunner,
    updater: WeightUpdater,
    criterion: Criterion,
    section: DistillSection,
    teacher: Callable[[Any], Any] | None = None,
    outputs: Outputs | None = None,
    padding: str | None = None,
) -> Learn:
    """The two passes of the method (Kang and Lee, section 3.2, algorithm 1).

    ``padding`` names the input that tells which tokens the stage outputs are pooled over.
    """
    if section.teacher is not None:
        criterion = with_teacher(criterion, section.teacher, outputs)

    def learn(inputs: Any, targets: Any, weight: float, seed: int) -> dict[str, Tensor]:
        losses = two_pass_step(
            student,
            inputs,
            targets if teacher is None else (targets, teacher(inputs)),
            criterion,
            alpha=section.alpha,
            temperature=section.temperature,
            logits=section.logits,
            features=section.features_weight if section.features else 0.0,
            stages=section.stages,
            base_task=section.base_task,
            further=random_config(len(student.stages), seed) if section.random_pass else (),
            outputs=outputs,
            feature_mask=None if padding is None else inputs[padding],
            weight=weight * section.whole,
            backward=updater.processes.backward,
        )
        return {
            "loss": losses.total,
            "task": losses.task,
            "logits": losses.logits,
            "features": losses.features,
            "base_task": losses.base_task,
        }

    return learn


def random_config(stages: int, seed: int) -> tuple[SkipConfig, ...]:
    """One config between super-net and base-net; none if there is none between."""
    between = list(skip_configs(stages))[1:-1]
    return (between[np.random.default_rng(seed).integers(len(between))],) if between else ()
