"""What the super-net learns: labels, smoothed and mixed, and an outside teacher's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn import functional as F

from ..distill import logits_loss
from .phase import PhaseSection
from .processes import Processes
from .recipe import TeacherSection
from .student import in_single

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Criterion = Callable[[Tensor, Any], Tensor]


def make_mix(phase: PhaseSection, num_classes: int) -> Mix:
    """Mixup and cutmix of a batch, which make the labels soft; or nothing."""
    if phase.mixup is None:
        return lambda images, targets: (images, targets)
    mix: Mix = Mixup(
        mixup_alpha=phase.mixup.mixup,
        cutmix_alpha=phase.mixup.cutmix,
        prob=phase.mixup.probability,
        switch_prob=phase.mixup.switch,
        label_smoothing=phase.label_smoothing,
        num_classes=num_classes,
    )
    return mix


def make_criterion(phase: PhaseSection) -> Criterion:
    """Cross-entropy with smoothed labels."""
    smoothing = phase.label_smoothing if phase.mixup is None else 0.0  # Mixup smooths itself

    def criterion(output: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(output, targets, label_smoothing=smoothing)

    return criterion


def with_teacher(criterion: Criterion, section: TeacherSection) -> Criterion:
    """``(1 - weight) * criterion + weight * T^2 KL(y_teacher || y)``.

    The second argument of the result is a pair: the targets, and the teacher's logits.
    """

    def taught(output: Tensor, targets: tuple[Any, Tensor]) -> Tensor:
        labels, y_teacher = targets
        distillation = logits_loss(output, y_teacher, section.temperature)
        return (1 - section.weight) * criterion(output, labels) + section.weight * distillation

    return taught


def make_teacher(network: nn.Module, processes: Processes) -> Callable[[Tensor], Tensor]:
    """A trained network that only tells its logits."""
    network.to(processes.device).eval().requires_grad_(False)

    @torch.no_grad()
    def teacher(images: Tensor) -> Tensor:
        with processes.autocast():
            output = network(images)
        logits: Tensor = in_single(output)
        return logits

    return teacher
