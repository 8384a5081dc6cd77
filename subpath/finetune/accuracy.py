"""Accuracy of a classifier on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from .callback import Callback
from .loader import Batches
from .measuring import measured, metrics_of
from .processes import Processes


class TopOne:
    """The share of inputs whose class is told right, in percent; of several heads the first."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def update(self, output: Any, targets: Tensor) -> None:
        """Count a batch."""
        logits: Tensor = output[0] if isinstance(output, (tuple, list)) else output
        right = (logits.argmax(dim=1) == targets).sum()
        counts = torch.stack([right, right.new_tensor(len(targets))])
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self, processes: Processes) -> dict[str, float]:
        """``top1``."""
        counts = self._counts
        if counts is None:
            counts = torch.zeros(2, dtype=torch.int64, device=processes.device)
        correct, seen = processes.sum(counts).tolist()
        return {"top1": 100 * correct / seen}


def accuracy(model: nn.Module, batches: Batches, processes: Processes) -> float:
    """Top-1 accuracy of an ordinary network, in percent; it is put in eval mode."""
    return measured(model, batches, processes, TopOne)["top1"]


def accuracies(
    model: AdaptiveModel,
    batches: Batches,
    processes: Processes,
    skips: Sequence[str],
    callback: Callback | None = None,
    calibrated: Mapping[str, nn.Module] | None = None,
) -> dict[str, float]:
    """Top-1 accuracy of several skip configs, in percent, from one pass over the data.

    The model is put in eval mode. ``calibrated`` are sub-networks that run in its place.
    """
    found = metrics_of(model, batches, processes, skips, TopOne, callback, calibrated)
    return {skip: metrics["top1"] for skip, metrics in found.items()}
