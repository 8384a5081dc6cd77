"""Lightning's module, whose training step is the two passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from ...adaptive.model import AdaptiveModel
from ...distill import StepLosses, average_gradients, average_statistics, two_pass_step
from ...distill.step import task_loss
from ...skip import SkipConfig


class TwoPassModule(lightning.LightningModule):  # type: ignore[misc]  # its types are not read
    """Trains super-net and base-net together, and evaluates the configs you choose.

    A batch is a pair of inputs and targets; inputs are a tensor, a tuple or a dict by name. Each
    step has two backward passes, so it is Lightning's manual optimisation, and what the Trainer
    would do between backward and update is told here: ``accumulate`` and ``clip``. Several
    processes: ``Trainer(strategy="ddp")``; gradients are averaged once, before the update.

    Args:
        model: from :func:`subpath.convert`.
        criterion: the task loss, a mean over the batch; ``None``: the model's own.
        optimiser: makes the optimiser from the model; override ``configure_optimizers`` for
            schedules, which are stepped after every update.
        eval_skips: the configs that validation measures beside the super-net; default: the
            base-net. Their losses are logged as ``val_<config>_loss``.
        accumulate: batches whose gradients are averaged for one update.
        clip: the largest norm of all gradients of an update.
        **how: what :func:`subpath.distill.two_pass_step` takes by name: ``alpha``, ``base_task``,
            ``outputs``, ...

    Raises:
        SkipConfigError: the model has no such config.
    """

    def __init__(
        self,
        model: AdaptiveModel,
        criterion: Callable[[Any, Any], Tensor] | None,
        optimiser: Callable[[nn.Module], torch.optim.Optimizer],
        *,
        eval_skips: Sequence[str] | None = None,
        accumulate: int = 1,
        clip: float | None = None,
        **how: Any,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.criterion = model, criterion
        self._optimiser, self._how = optimiser, how
        self._accumulate, self._clip = accumulate, clip
        stages = len(model.stages)
        chosen = (SkipConfig.base_net(stages),) if eval_skips is None else eval_skips
        wanted = [SkipConfig.super_net(stages), *(SkipConfig(skip, stages) for skip in chosen)]
        self._evaluated = tuple(dict.fromkeys(wanted))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output; ``skip=`` chooses the config."""
        return self.model(*args, **kwargs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Both passes on one batch, and an update after the last of those that are accumulated."""
        inputs, targets = batch
        optimiser = self.optimizers()
        if batch_idx % self._accumulate == 0:
            optimiser.zero_grad()
        with self._by_itself():
            losses = two_pass_step(
                self.model,
                inputs,
                targets,
                self.criterion,
                **{**self._how, "weight": self._how.get("weight", 1.0) / self._accumulate},
                backward=self.manual_backward,
            )
        if (batch_idx + 1) % self._accumulate == 0:
            self._update(optimiser)
        self.log_dict(_parts(losses), prog_bar=True)
        return losses.total

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The task loss of each chosen config."""
        inputs, targets = batch
        for skip in self._evaluated:
            output = self._run(inputs, skip)
            self.log(f"val_{skip}_loss", task_loss(output, targets, self.criterion), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Running statistics are those of all processes."""
        average_statistics(self.model)

    def configure_optimizers(self) -> Any:
        """The optimiser that was asked for."""
        return self._optimiser(self.model)

    def _by_itself(self) -> AbstractContextManager[None]:
        """No averaging by the data-parallel wrapper, which would wait for what a pass skips."""
        wrapper = self.trainer.model
        if isinstance(wrapper, nn.parallel.DistributedDataParallel):
            context: AbstractContextManager[None] = wrapper.no_sync()
            return context
        return nullcontext()

    def _update(self, optimiser: Any) -> None:
        average_gradients(self.model.parameters())
        if self._clip is not None:
            self.clip_gradients(optimiser, self._clip, "norm")
        optimiser.step()
        schedules = self.lr_schedulers() or []
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()

    def _run(self, inputs: Any, skip: str) -> Any:
        if isinstance(inputs, Mapping):
            return self.model(**inputs, skip=skip)
        return self.model(*inputs if isinstance(inputs, tuple) else (inputs,), skip=skip)


def _parts(losses: StepLosses) -> dict[str, Tensor]:
    return {
        "loss": losses.total,
        "task_loss": losses.task,
        "logits_loss": losses.logits,
        "features_loss": losses.features,
        "base_task_loss": losses.base_task,
    }
