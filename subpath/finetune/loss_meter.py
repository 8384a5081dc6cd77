"""The losses of an epoch, added up on the device so that no step waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RunError
from .processes import Processes

LOSSES = ("loss", "task", "logits", "features", "base_task")
PASSES = {"super-net": ("task",), "base-net": ("logits", "features", "base_task")}
NEVER = 2**60


@dataclass(frozen=True)
class EpochLosses:
    """Means over an epoch; the last three are ``None`` without distillation."""

    loss: float
    task: float
    logits: float | None
    features: float | None
    base_task: float | None
    seconds: float
    samples_per_second: float


class LossMeter:
    """What has been seen of an epoch so far, on this process.

    Attributes:
        sums: of each of ``LOSSES``; a loss that is not computed counts 0.
        batches: how many.
        samples: how many.
        distilled: whether the losses of a second pass were among them.
        rate: the learning rate of the first update.
        bad: for each pass, the first batch whose loss was not finite.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(LOSSES), device=device)
        self.bad = torch.full((len(PASSES),), NEVER, device=device)
        self.batches = self.samples = 0
        self.distilled = False
        self.rate = 0.0
        self.seconds = 0.0
        self._since = time.perf_counter()

    def add(self, losses: Mapping[str, Tensor], samples: int) -> None:
        """Add the losses of one batch."""
        none = self.sums.new_zeros(())
        self.sums += torch.stack([losses.get(name, none).float() for name in LOSSES])
        of_passes = torch.stack(
            [sum((losses.get(name, none) for name in names), none) for names in PASSES.values()]
        )
        self.bad = self.bad.where(of_passes.isfinite(), self.bad.clamp(max=self.batches))
        self.batches += 1
        self.samples += samples
        self.distilled = "logits" in losses

    def check(self, processes: Processes, phase: str, epoch: int) -> None:
        """Stop at a loss that is not a number; this waits for the device.

        Raises:
            RunError: there was one, on any process.
        """
        for name, batch in zip(PASSES, processes.minimum(self.bad.clone()).tolist(), strict=True):
            if batch < NEVER:
                raise RunError(
                    f"got a loss that is not finite in the {name}'s pass, at batch {batch + 1} of "
                    f"epoch {epoch + 1} of {phase}; expected a finite number. Lower "
                    f"{phase}.optimiser.lr, or add {phase}.schedule.warmup_epochs or {phase}.clip"
                )

    def means(self, processes: Processes) -> EpochLosses:
        """The means over all batches of all processes."""
        seconds = self.seconds + time.perf_counter() - self._since
        counted = self.sums.new_tensor([self.batches, self.samples])
        totals = processes.sum(torch.cat([self.sums, counted])).tolist()
        *sums, batches, samples = totals
        mean = {name: value / batches for name, value in zip(LOSSES, sums, strict=True)}
        return EpochLosses(
            loss=mean["loss"],
            task=mean["task"],
            logits=mean["logits"] if self.distilled else None,
            features=mean["features"] if self.distilled else None,
            base_task=mean["base_task"] if self.distilled else None,
            seconds=seconds,
            samples_per_second=samples / seconds,
        )

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {
            "sums": self.sums,
            "batches": self.batches,
            "samples": self.samples,
            "distilled": self.distilled,
            "rate": self.rate,
            "seconds": self.seconds + time.perf_counter() - self._since,
        }

    def load_state(self, state: Mapping[str, object]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
        self.sums = self.sums.to(self.bad.device)
