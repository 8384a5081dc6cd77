"""The training loops: one epoch of the original, one of the adaptive network.

To follow a batch: :func:`finetune_epoch` takes it from the loader, mixes it (if the recipe says
so), lets ``distill`` do the two passes, and steps the optimiser and the schedule.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.nn import functional as F

from ..adaptive.model import AdaptiveModel
from ..distill import two_pass_step
from ..errors import RecipeError
from .data import Batches
from .observer import Observer
from .recipe import DistillSection, PhaseSection

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Trainer:
    """What a phase needs beside the network and the data.

    Attributes:
        optimiser: over all weights of the network.
        schedule: timm's scheduler, stepped after every batch.
        mix: mixup and cutmix of a batch; makes the labels soft.
        criterion: the task loss.
        device: where the network is.
        steps: batches done so far in this phase.
    """

    optimiser: torch.optim.Optimizer
    schedule: Any
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    criterion: Criterion
    device: torch.device
    steps: int = 0

    def batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """A batch on the device, mixed."""
        images = images.to(self.device, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        return self.mix(images, targets) if self.mix else (images, targets)

    def step(self) -> None:
        """Change the weights, then the learning rate."""
        self.optimiser.step()
        self.steps += 1
        self.schedule.step_update(self.steps)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step (of the first parameter group)."""
        return float(self.optimiser.param_groups[0]["lr"])


@dataclass(frozen=True)
class EpochLosses:
    """Means over an epoch; ``logits`` and ``features`` are ``None`` without distillation."""

    loss: float
    task: float
    logits: float | None
    features: float | None
    seconds: float
    images_per_second: float


def make_trainer(
    model: nn.Module, phase: PhaseSection, batches: int, num_classes: int, device: torch.device
) -> Trainer:
    """Optimiser, schedule and task loss of a phase.

    Args:
        model: the network, on ``device``.
        phase: what the recipe says.
        batches: in each epoch.
        num_classes: for mixup.
        device: where the network is.

    Raises:
        RecipeError: timm refuses the arguments of the optimiser or the schedule.
    """
    chosen, schedule = phase.optimiser, phase.schedule
    try:
        optimiser = create_optimizer_v2(
            model,
            opt=chosen.name,
            lr=chosen.lr,
            weight_decay=chosen.weight_decay,
            momentum=chosen.momentum,
            **chosen.arguments,
        )
        scheduler, _ = create_scheduler_v2(
            optimiser,
            sched=schedule.name,
            num_epochs=phase.epochs,
            warmup_epochs=schedule.warmup_epochs,
            warmup_lr=schedule.warmup_lr,
            min_lr=schedule.min_lr,
            decay_epochs=schedule.decay_epochs or phase.epochs,
            decay_milestones=list(schedule.decay_milestones),
            decay_rate=schedule.decay_rate,
            step_on_epochs=False,
            updates_per_epoch=batches,
        )
    except Exception as error:  # optimisers check their arguments in many ways
        raise RecipeError(
            f"got an optimiser or schedule that timm refuses ({type(error).__name__}: {error}); "
            f"expected arguments that {chosen.name} and {schedule.name} take"
        ) from error
    if phase.mixup is None:
        mix: Mixup | None = None
        smoothing = phase.label_smoothing
    else:  # Mixup smooths the labels itself
        smoothing = 0.0
        mix = Mixup(
            mixup_alpha=phase.mixup.mixup,
            cutmix_alpha=phase.mixup.cutmix,
            prob=phase.mixup.probability,
            label_smoothing=phase.label_smoothing,
            num_classes=num_classes,
        )

    def criterion(output: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(output, targets, label_smoothing=smoothing)

    scheduler.step_update(0)
    return Trainer(optimiser, scheduler, mix, criterion, device)


def train_epoch(
    model: nn.Module, batches: Batches, trainer: Trainer, observer: Observer
) -> EpochLosses:
    """One epoch of the original network: a plain loop."""
    model.train()
    sums = _Sums()
    for images, targets in batches:
        images, targets = trainer.batch(images, targets)
        trainer.optimiser.zero_grad()
        output = model(images)
        heads = output if isinstance(output, (tuple, list)) else (output,)
        loss = torch.stack([trainer.criterion(head, targets) for head in heads]).mean()
        loss.backward()
        observer.batch(loss.detach(), trainer.learning_rate)
        trainer.step()
        sums.add(len(images), loss=loss.detach(), task=loss.detach())
    return sums.means()


def finetune_epoch(
    model: AdaptiveModel,
    batches: Batches,
    trainer: Trainer,
    distill: DistillSection,
    observer: Observer,
) -> EpochLosses:
    """One epoch of self-distillation (Kang and Lee, section 3.2, algorithm 1)."""
    model.train()
    sums = _Sums()
    for images, targets in batches:
        images, targets = trainer.batch(images, targets)
        trainer.optimiser.zero_grad()
        losses = two_pass_step(
            model,
            images,
            targets,
            trainer.criterion,
            alpha=distill.alpha,
            temperature=distill.temperature,
            features=distill.features,
        )
        observer.batch(losses.total, trainer.learning_rate)
        trainer.step()
        sums.add(
            len(images),
            loss=losses.total,
            task=losses.task,
            logits=losses.logits,
            features=losses.features,
        )
    return sums.means()


class _Sums:
    """Sums of losses over an epoch, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._images = 0
        self._batches = 0
        self._start = time.perf_counter()

    def add(self, images: int, **losses: Tensor) -> None:
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss
        self._images += images
        self._batches += 1

    def means(self) -> EpochLosses:
        seconds = time.perf_counter() - self._start
        return EpochLosses(
            loss=float(self._sums["loss"]) / self._batches,
            task=float(self._sums["task"]) / self._batches,
            logits=self._mean("logits"),
            features=self._mean("features"),
            seconds=seconds,
            images_per_second=self._images / seconds,
        )

    def _mean(self, name: str) -> float | None:
        return float(self._sums[name]) / self._batches if name in self._sums else None
