"""transformers' Trainer, whose training step is the two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import DistributedType, find_batch_size
from torch import Tensor, nn
from transformers import Trainer

from ...adaptive.in_place import InPlaceModel
from ...distill import StepLosses, average_gradients, average_statistics, two_pass_step
from ...errors import SubpathError
from ...skip import SkipConfig
from .outputs import outputs_for
from .places import output_mask
from .scaling import heeds_items
from .settings import TwoPassSettings
from .trainer_runner import TrainerRunner

ONE_MODEL_EACH = {DistributedType.NO} | {
    kind for kind in DistributedType if kind.name.startswith("MULTI_")
}


class TwoPassTrainer(Trainer):  # type: ignore[misc]  # its types are not read
    """A Trainer that trains super-net and base-net, and evaluates the configs you choose.

    The super-net learns the loss that the Trainer computes (the model's own, label smoothing, your
    ``compute_loss``); the base-net learns the super-net's outputs and stage outputs. Accumulation
    gives the gradients of one large batch: padded tokens count nowhere, and every token and sample
    counts once. Several processes average their gradients once, before the optimiser's step.

    It goes before other trainers of transformers, too:
    ``class Mine(TwoPassTrainer, Seq2SeqTrainer)``.

    Args:
        *args: what the Trainer takes; the model comes from :func:`subpath.convert`.
        two_pass: the weights of the step.
        eval_skips: the skip configs that :meth:`evaluate` measures beside the super-net; default:
            the base-net. Their metrics are named by config: ``eval_TTTT_loss``.
        **kwargs: what the Trainer takes by name.

    Raises:
        SubpathError: the model is not converted or does not run in place, or training is to be
            shared in a way that two passes do not fit.
    """

    model_accepts_loss_kwargs: bool

    def __init__(
        self,
        *args: Any,
        two_pass: TwoPassSettings | None = None,
        eval_skips: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.two_pass = two_pass or TwoPassSettings()
        _check_model(self.model)
        _check_sharing(self)
        stages = len(self.model.stages)
        self._super_net = SkipConfig.super_net(stages)
        chosen = (SkipConfig.base_net(stages),) if eval_skips is None else eval_skips
        configs = [SkipConfig(skip, stages) for skip in chosen]
        self._others = [config for config in configs if config != self._super_net]
        self._outputs = self.two_pass.outputs or outputs_for(self.model)
        self._asked = False
        self._shares: Iterator[tuple[float, float]] = iter(())
        self._told: dict[str, Tensor] = {}
        self._updates_told = 0
        self._evaluating = False

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Both passes on one batch; after an update's last, gradients are those of all processes.

        Returns:
            The batch's share of the update's loss, detached.
        """
        adaptive = self.accelerator.unwrap_model(model)
        adaptive.train()
        if callable(getattr(self.optimizer, "train", None)):
            self.optimizer.train()
        inputs = dict(self._prepare_inputs(inputs))
        self._ask_for_scale(inputs)
        items = num_items_in_batch if self._loss_is_divided(num_items_in_batch) else None
        of_places, of_samples = next(self._shares, (1.0, 1.0))
        settings = self.two_pass
        losses = two_pass_step(
            TrainerRunner(self, adaptive, items, for_all=bool(settings.base_task)),
            inputs,
            None,
            None,
            alpha=settings.alpha,
            temperature=settings.temperature,
            logits=settings.logits * of_places,
            features=settings.features * of_samples,
            stages=settings.stages,
            base_task=settings.base_task,
            further=settings.further,
            outputs=self._outputs,
            mask=self._mask(inputs),
            weight=settings.weight,
            backward=self.accelerator.backward,
        )
        if self.accelerator.sync_gradients:
            average_gradients(adaptive.parameters())
            average_statistics(adaptive)
        self._tell(losses, of_places, of_samples)
        return settings.weight * losses.total

    def share_of_update(self, loss: Tensor, items: Any) -> Tensor:
        """What a batch's task loss adds to that of the update."""
        divided = getattr(self, "loss_is_scaled_for_ga", None)  # not in transformers 5.0
        if divided is None:
            divided = self._loss_is_divided(items)
        return loss if divided else loss / self.current_gradient_accumulation_steps

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **more: Any
    ) -> Any:
        """The Trainer's, with a loss that does not grow with the number of processes."""
        self._ask_for_scale(inputs)
        return super().prediction_step(model, inputs, *args, **more)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The batches of one update, whose places and samples are counted."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._shares = iter(self._shares_of(batches))
        return batches, items

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The Trainer's metrics for the super-net, and those of each chosen config.

        Those of a config have its name after the prefix: ``eval_TTTT_loss``. Memory and speed are
        told for all of them together.
        """
        before, self._evaluating = self._evaluating, True
        try:
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = before
        return metrics

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """The Trainer's loop; in :meth:`evaluate` once for the super-net and each chosen config."""
        loop = super().evaluation_loop
        if not self._evaluating:
            return loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        prefixes = {self._super_net: metric_key_prefix}
        prefixes |= {skip: f"{metric_key_prefix}_{skip}" for skip in self._others}
        found = []
        for skip, prefix in prefixes.items():
            with self.model.using(skip):
                found.append(
                    loop(dataloader, description, prediction_loss_only, ignore_keys, prefix)
                )
        for other in found[1:]:
            found[0].metrics.update(other.metrics)
        return found[0]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """What the Trainer logs, and the parts of its loss, each a mean over the updates."""
        if "loss" in logs and self._updates_told:
            means = torch.stack(list(self._told.values())) / self._updates_told
            means = self.accelerator.reduce(means, reduction="mean")
            logs = {**logs, **dict(zip(self._told, means.tolist(), strict=True))}
            self._told, self._updates_told = {}, 0
        super().log(logs, *args, **kwargs)

    def _loss_is_divided(self, items: Any) -> bool:
        """Whether ``compute_loss`` divides by ``items``, the items of the whole update."""
        heeded = self.model_accepts_loss_kwargs or self.compute_loss_func is not None
        return items is not None and heeded

    def _ask_for_scale(self, inputs: Mapping[str, Any]) -> None:
        """Once, where it matters: does the model heed the number of items that it takes?"""
        alone = self.args.gradient_accumulation_steps * self.args.world_size == 1
        if self._asked or alone or self.compute_loss_func is not None:
            return
        self._asked = True
        if self.model_accepts_loss_kwargs and set(self.label_names) <= inputs.keys():
            given = self._prepare_inputs(inputs)
            self.model_accepts_loss_kwargs = heeds_items(self, self.model, given)

    def _mask(self, inputs: Mapping[str, Any]) -> Tensor | None:
        given = self.two_pass.mask
        return output_mask(self.model, inputs) if given is None else given(inputs)

    def _shares_of(self, batches: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
        """Each batch's share of the update's places and samples, over all processes.

        They are times the number of processes, whose gradients are averaged.
        """
        if not batches:
            return []
        counts = torch.stack([self._counts(batch) for batch in batches])
        mean = self.accelerator.reduce(counts.sum(0), reduction="mean").clamp(min=1e-9)
        return [(places, samples) for places, samples in (counts / mean).tolist()]

    def _counts(self, batch: Mapping[str, Any]) -> Tensor:
        """How many places and samples a batch has; without a mask, each sample counts once."""
        samples, mask = find_batch_size(batch), self._mask(batch)
        places = torch.tensor(samples) if mask is None else mask.sum()
        return torch.stack([places, places.new_tensor(samples)]).to(self.args.device).float()

    def _tell(self, losses: StepLosses, of_places: float, of_samples: float) -> None:
        parts = {
            "task_loss": losses.task,
            "logits_loss": losses.logits * of_places,
            "features_loss": losses.features * of_samples,
            "base_task_loss": losses.base_task,
        }
        for name, part in parts.items():
            self._told[name] = self._told.get(name, 0.0) + part.float()
        self._updates_told += bool(self.accelerator.sync_gradients)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, InPlaceModel):
        raise SubpathError(
            f"got a {type(model).__name__} that was not converted, or that runs from its graph and "
            "takes no labels; expected subpath.convert(model, run='in place')"
        )


def _check_sharing(trainer: Any) -> None:
    kind = trainer.accelerator.distributed_type
    if kind not in ONE_MODEL_EACH:
        raise SubpathError(
            f"got a model that is shared between processes ({kind.value}); expected each process "
            "to have all of it, as with torchrun and no sharding"
        )
    if trainer.args.n_gpu > 1:
        raise SubpathError(
            f"got {trainer.args.n_gpu} GPUs in one process; expected one process for each: start "
            f"with torchrun --nproc_per_node {trainer.args.n_gpu}, or set CUDA_VISIBLE_DEVICES"
        )
    if trainer.args.torch_compile:
        raise SubpathError(
            "got torch_compile=True, and a model that runs in place, which torch.compile does not "
            "know; expected torch_compile=False"
        )
