"""Metrics on held-back data; with several processes, each sees a share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from ..adaptive.model import AdaptiveModel
from .loader import Batches, to_device
from .observer import Observer, Silent
from .processes import Processes
from .student import Read, call, in_single


class Measure(Protocol):
    """Counts how good the outputs of one network are on held-back data."""

    def update(self, output: Any, targets: Any) -> None:
        """Count one batch: the output, as the task reads it, and the targets."""

    def result(self, processes: Processes) -> dict[str, float]:
        """The metrics by name, over the shares of all processes."""


def measured(
    model: nn.Module,
    batches: Batches,
    processes: Processes,
    measure: Callable[[], Measure],
    read: Read = in_single,
) -> dict[str, float]:
    """The metrics of an ordinary network; it is put in eval mode."""
    model.eval()
    (found,) = _found([model], batches, processes, measure, read, Silent())
    return found


def metrics_of(
    model: AdaptiveModel,
    batches: Batches,
    processes: Processes,
    skips: Sequence[str],
    measure: Callable[[], Measure],
    observer: Observer | None = None,
    calibrated: Mapping[str, nn.Module] | None = None,
    read: Read = in_single,
) -> dict[str, dict[str, float]]:
    """The metrics of several skip configs, from one pass over the data.

    Args:
        model: the adaptive model; it is put in eval mode.
        batches: this process's share of the held-back data.
        processes: who else has a share.
        skips: the configs.
        measure: makes what counts for one config.
        observer: gets told about every batch.
        calibrated: sub-networks that run in the model's place.
        read: brings a network's output to the form that is counted.
    """
    model.eval()
    runs = [(calibrated or {}).get(skip, partial(model, skip=skip)) for skip in skips]
    found = _found(runs, batches, processes, measure, read, observer or Silent())
    return {str(skip): metrics for skip, metrics in zip(skips, found, strict=True)}


@torch.no_grad()
def _found(
    runs: Sequence[Callable[..., Any]],
    batches: Batches,
    processes: Processes,
    measure: Callable[[], Measure],
    read: Read,
    observer: Observer,
) -> list[dict[str, float]]:
    measures = [measure() for _ in runs]
    for inputs, targets in batches:
        inputs, targets = to_device(inputs, processes.device), to_device(targets, processes.device)
        for run, counted in zip(runs, measures, strict=True):
            with processes.autocast():
                output = call(run, inputs)
            counted.update(read(output), targets)
        observer.batch(None, None)
    return [counted.result(processes) for counted in measures]
