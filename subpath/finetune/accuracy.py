"""Accuracy on held-back data; with several processes, each sees a share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from .loader import Batches
from .observer import Observer, Silent
from .processes import Processes


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches, processes: Processes) -> float:
    """Top-1 accuracy of an ordinary network, in percent; it is put in eval mode."""
    model.eval()
    (percent,) = _percent([model], batches, processes, Silent())
    return percent


@torch.no_grad()
def accuracies(
    model: AdaptiveModel,
    batches: Batches,
    processes: Processes,
    skips: Sequence[str],
    observer: Observer | None = None,
    calibrated: Mapping[str, nn.Module] | None = None,
) -> dict[str, float]:
    """Top-1 accuracy of several skip configs, in percent, from one pass over the data.

    The model is put in eval mode. ``calibrated`` are sub-networks that run in its place.
    """
    model.eval()
    runs = [(calibrated or {}).get(skip, partial(model, skip=skip)) for skip in skips]
    percents = _percent(runs, batches, processes, observer or Silent())
    return {str(skip): percent for skip, percent in zip(skips, percents, strict=True)}


def _percent(
    runs: Sequence[Callable[[Tensor], Any]],
    batches: Batches,
    processes: Processes,
    observer: Observer,
) -> list[float]:
    """The share of images that each of ``runs`` gets right, over the shares of all processes."""
    counts = torch.zeros(len(runs) + 1, dtype=torch.int64, device=processes.device)
    for images, targets in batches:
        images, targets = images.to(processes.device), targets.to(processes.device)
        with processes.autocast():
            right = [_correct(run(images), targets) for run in runs]
        counts += torch.stack([*right, counts.new_tensor(len(targets))])
        observer.batch(None, None)
    *correct, images_seen = processes.total(counts).tolist()
    return [100 * right / images_seen for right in correct]


def _correct(output: Any, targets: Tensor) -> Tensor:
    logits: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return (logits.argmax(dim=1) == targets).sum()
