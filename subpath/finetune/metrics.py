"""Metrics on validation data; with several processes, each sees a share of it.

What is counted is the task's to say; :class:`TopOne` counts the accuracy of a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from .callback import Callback, NoCallback
from .config_runner import Read, call, in_single
from .loader import Batches, to_device
from .processes import Processes


class Measure(Protocol):
    """Counts how good the outputs of one network are on validation data."""

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

    def run(inputs: Any) -> Iterator[tuple[str, Any]]:
        yield "", call(model, inputs)

    return _found(run, [""], batches, processes, measure, read, NoCallback())[""]


def metrics_of(
    model: AdaptiveModel,
    batches: Batches,
    processes: Processes,
    skips: Sequence[str],
    measure: Callable[[], Measure],
    callback: Callback | None = None,
    calibrated: Mapping[str, nn.Module] | None = None,
    read: Read = in_single,
) -> dict[str, dict[str, float]]:
    """The metrics of several skip configs, from one pass over the data.

    Args:
        model: the adaptive model; it is put in eval mode.
        batches: this process's share of the validation data.
        processes: who else has a share.
        skips: the configs.
        measure: makes what counts for one config.
        callback: gets told about every batch.
        calibrated: sub-networks that run in the model's place.
        read: brings a network's output to the form that is counted.
    """
    model.eval()
    own = calibrated or {}
    shared = [skip for skip in dict.fromkeys(skips) if skip not in own]

    def run(inputs: Any) -> Iterator[tuple[str, Any]]:
        yield from call(partial(model.outputs, skips=shared), inputs)
        for skip, subnet in own.items():
            if skip in skips:
                yield skip, call(subnet, inputs)

    found = _found(run, skips, batches, processes, measure, read, callback or NoCallback())
    return {str(skip): found[skip] for skip in skips}


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


@torch.no_grad()
def _found(
    run: Callable[[Any], Iterator[tuple[str, Any]]],
    names: Sequence[str],
    batches: Batches,
    processes: Processes,
    measure: Callable[[], Measure],
    read: Read,
    callback: Callback,
) -> dict[str, dict[str, float]]:
    measures = {name: measure() for name in names}
    for inputs, targets in batches:
        inputs, targets = to_device(inputs, processes.device), to_device(targets, processes.device)
        for name, output in _computed(run(inputs), processes):
            measures[name].update(read(output), targets)
        callback.batch(None, None)
    if processes.sharded:  # others may have a batch more, and need this one's parts for it
        for _ in range(processes.most(len(batches)) - len(batches)):
            for _ in _computed(run(inputs), processes):
                pass
    return {name: counted.result(processes) for name, counted in measures.items()}


def _computed(
    outputs: Iterator[tuple[str, Any]], processes: Processes
) -> Iterator[tuple[str, Any]]:
    """Each output is computed in the run's precision; what is done with it is not."""
    while True:
        with processes.autocast():
            found = next(outputs, None)
        if found is None:
            return
        yield found
