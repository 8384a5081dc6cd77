"""What the super-net learns: labels, smoothed and mixed, and an outside teacher's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn import functional as F

from ..distill import Classes, Outputs
from .config_runner import Read, call, in_single
from .phase import PhaseSection
from .processes import Processes
from .recipe import TeacherSection

Mix = Callable[[Any, Any], tuple[Any, Any]]
Criterion = Callable[[Any, Any], Tensor]


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


def with_teacher(
    criterion: Criterion, section: TeacherSection, outputs: Outputs | None = None
) -> Criterion:
    """``(1 - weight) * criterion + weight * T^2 KL(y_teacher || y)``.

    The second argument of the result is a pair: the targets, and the teacher's logits. ``outputs``
    tells how both are compared.
    """
    compared = outputs or Outputs({"": Classes()})

    def taught(output: Any, targets: tuple[Any, Any]) -> Tensor:
        labels, y_teacher = targets
        distillation = compared.loss(output, y_teacher, section.temperature)
        return (1 - section.weight) * criterion(output, labels) + section.weight * distillation

    return taught


def make_teacher(
    network: nn.Module, processes: Processes, read: Read = in_single
) -> Callable[[Any], Any]:
    """A trained network that only tells its logits."""
    network.to(processes.device).eval().requires_grad_(False)

    @torch.no_grad()
    def teacher(inputs: Any) -> Any:
        with processes.autocast():
            output = call(network, inputs)
        return read(output)

    return teacher
