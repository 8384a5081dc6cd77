"""The step as a training task of timm, for timm's own training script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from timm.models import group_parameters
from timm.task import TrainingTask, resolve_classification_loss
from timm.utils import unwrap_model
from torch import Tensor, nn

from ..adaptive.codegen import dispatches
from ..adaptive.model import AdaptiveModel
from ..distill.outputs import detached
from ..distill.step import Distillation, distillation_losses, heads, task_loss
from ..skip import SkipConfig
from .parameter_names import UnderOriginalNames, classifier_weights, original_name


class TwoPasses(nn.Module):
    """Both passes in one forward, so that data-parallel wrappers see one forward, one backward.

    Every weight takes part in it: the skippable ones in the first pass, the twins in the second.
    """

    def __init__(self, student: AdaptiveModel) -> None:
        super().__init__()
        self.student = student

    @dispatches
    def forward(self, inputs: Tensor) -> tuple[Any, tuple[Tensor, ...], Any, tuple[Tensor, ...]]:
        """Output and stage outputs of the super-net, then those of the base-net."""
        stages = len(self.student.stages)
        super_net, base_net = SkipConfig.super_net(stages), SkipConfig.base_net(stages)
        y_super, h_super = self.student.forward_features_of_stages(inputs, skip=super_net)
        y_base, h_base = self.student.forward_features_of_stages(inputs, skip=base_net)
        return y_super, h_super, y_base, h_base

    def no_weight_decay(self) -> set[str]:
        """What the original says, under this module's names."""
        told = getattr(self.student, "no_weight_decay", set)
        return {f"student.{name}" for name in told()}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The layer of a weight, for layer-wise learning rates; a twin is in its original's."""
        student: Any = self.student
        matcher = student.group_matcher(coarse=coarse)
        layers = group_parameters(UnderOriginalNames(self.student), matcher, reverse=True)
        last = max(layers.values())
        return lambda name: layers.get(original_name(name.removeprefix("student.")), last)


class TwoPassTask(TrainingTask):
    """Self-distillation in two passes (Kang and Lee, section 3.2) as timm's script wants it.

    ``task(images, targets)["loss"].backward()`` gives the gradients of
    :func:`subpath.distill.two_pass_step`. EMA, compilation, data parallelism and checkpoints are
    timm's. One difference: one backward pass for both terms keeps both graphs in memory until
    then, which costs up to twice the activations.

    Args:
        model: the adaptive model; it is what is evaluated and what checkpoints hold.
        criterion: the task loss; default: timm's, from ``criterion_kwargs``.
        criterion_kwargs: for ``timm.loss.create_classification_loss``.
        alpha: weight of the task loss; ``1 - alpha`` weighs the distillation.
        temperature: ``T`` of both distillation losses.
        logits: weight of the distillation of the logits; 0 turns it off.
        features: weight of the distillation of the stage outputs; 0 turns it off.
        stages: numbers of the stages whose outputs are distilled; default: all.
        base_task: weight, beside the distillation, of the base-net's own task loss.
        weight: of the whole loss.
        device: of the task.
        dtype: of the task.
        verbose: for timm's messages.
    """

    def __init__(
        self,
        model: AdaptiveModel,
        criterion: nn.Module | Callable[..., Tensor] | None = None,
        criterion_kwargs: dict[str, Any] | None = None,
        *,
        alpha: float = 0.5,
        temperature: float = 1.0,
        logits: float = 1.0,
        features: float = 1.0,
        stages: Sequence[int] | None = None,
        base_task: float = 0.0,
        weight: float = 1.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        self.trainable_module: nn.Module = TwoPasses(model)
        self.criterion = resolve_classification_loss(
            criterion, self.device, criterion_kwargs=criterion_kwargs
        )
        self.alpha, self.weight = alpha, weight
        self.what = Distillation(temperature, logits, features, stages, base_task)
        self._channel_dims = [stage.channel_dim for stage in model.stages]

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Any]:  # noqa: A002 - timm's
        """Both passes.

        Returns:
            ``loss``, with gradients; ``output``, the super-net's; and, not weighted, ``task_loss``,
            ``logits_loss``, ``features_loss`` and ``base_task_loss`` (0 where they are off).
        """
        y_super, h_super, y_base, h_base = self.trainable_module(input)
        task = task_loss(y_super, target, self.criterion)
        logits, features = distillation_losses(
            y_base,
            h_base,
            detached(y_super),
            [h.detach() for h in h_super],
            self._channel_dims,
            self.what,
        )
        own = torch.zeros_like(task)
        if self.what.task:
            own = task_loss(y_base, target, self.criterion)
        learned = self.what.total(logits, features, own)
        return {
            "loss": self.weight * (self.alpha * task + (1 - self.alpha) * learned),
            "output": heads(y_super)[0],
            "task_loss": task.detach(),
            "logits_loss": logits.detach(),
            "features_loss": features.detach(),
            "base_task_loss": own.detach(),
        }

    def prepare_distributed(
        self, device_ids: list[Any] | None = None, **ddp_kwargs: Any
    ) -> TwoPassTask:
        """Wrap both passes, as one module, in ``DistributedDataParallel``."""
        self.trainable_module = nn.parallel.DistributedDataParallel(
            self.trainable_module, device_ids=device_ids, **ddp_kwargs
        )
        return self

    def compile(  # type: ignore[override]
        self, backend: str = "inductor", mode: str | None = None, **compile_kwargs: Any
    ) -> nn.Module:
        """Compile each pass, and the super-net for evaluation, before data-parallel wrapping."""
        how: Any = {"backend": backend, "mode": mode, **compile_kwargs}
        student = self.get_eval_model()
        evaluated: Any = torch.compile(student, **how)
        trained: Any = torch.compile(self.trainable_module, **how)
        self.eval_model, self.trainable_module = evaluated, trained
        model: nn.Module = evaluated
        return model

    def get_eval_model(self, module: nn.Module | None = None, ema: bool = False) -> Any:
        """The adaptive model, or its moving average."""
        found = super().get_eval_model(module=module, ema=ema)
        inner = unwrap_model(found) if found is not None else None
        return inner.student if isinstance(inner, TwoPasses) else found

    def get_clip_parameters(self, exclude_head: bool = False) -> Iterable[nn.Parameter]:
        """All weights, or all but the classifier's."""
        inner = unwrap_model(self.trainable_module)
        spared = classifier_weights(inner.student) if exclude_head else set()
        return [p for p in inner.parameters() if id(p) not in spared]
