"""Accuracy on held-back data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from .data import Batches
from .observer import Observer, Silent


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches, device: torch.device) -> float:
    """Top-1 accuracy of an ordinary network, in percent; it is put in eval mode."""
    model.eval()
    correct = count = 0
    for images, targets in batches:
        correct += _correct(model(images.to(device)), targets.to(device))
        count += len(targets)
    return 100 * correct / count


@torch.no_grad()
def accuracies(
    model: AdaptiveModel,
    batches: Batches,
    device: torch.device,
    skips: Sequence[str],
    observer: Observer | None = None,
) -> dict[str, float]:
    """Top-1 accuracy of several skip configs, in percent, from one pass over the data.

    The model is put in eval mode.
    """
    observer = observer or Silent()
    model.eval()
    correct = dict.fromkeys(skips, 0)
    count = 0
    for images, targets in batches:
        images, targets = images.to(device), targets.to(device)
        for skip in skips:
            correct[skip] += _correct(model(images, skip=skip), targets)
        count += len(targets)
        observer.batch(None, None)
    return {str(skip): 100 * right / count for skip, right in correct.items()}


def _correct(output: Any, targets: Tensor) -> int:
    logits = output[0] if isinstance(output, (tuple, list)) else output
    return int((logits.argmax(dim=1) == targets).sum())
