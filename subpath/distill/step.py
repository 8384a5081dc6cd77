"""One training step of self-distillation: two passes, two backward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import SubpathError
from ..plan import StagePlan
from ..skip import SkipConfig
from .losses import feature_loss, logits_loss

Criterion = Callable[[Tensor, Any], Tensor]


class Student(Protocol):
    """What a step asks of a model; :class:`subpath.AdaptiveModel` has it."""

    @property
    def stages(self) -> Sequence[StagePlan]:
        """The stages that can be skipped."""

    def forward_features_of_stages(
        self, inputs: Tensor, /, *, skip: str | None = None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """The output of a config, and the outputs of its stages."""


@dataclass(frozen=True)
class StepLosses:
    """What one step computed; all without gradient.

    Attributes:
        task: the task loss of the super-net, not weighted.
        logits: the distillation loss on the logits, not weighted (0 when it is off).
        features: the distillation loss on the stage outputs, not weighted (0 when it is off).
        base_task: the task loss of the base-net, not weighted (0 when it is off).
        total: what the gradients are of.
        output: the super-net's output.
    """

    task: Tensor
    logits: Tensor
    features: Tensor
    base_task: Tensor
    total: Tensor
    output: Any


@dataclass(frozen=True)
class Distillation:
    """What the base-net learns in its pass, and with which weights.

    ``logits * KL(y_super || y_base) + features * sum_s KL(h_super^s || h_base^s)
    + task * criterion(y_base, targets)``; the method has no third term.

    Attributes:
        temperature: ``T`` of both KL divergences.
        logits: weight of the logits.
        features: weight of the stage outputs.
        stages: numbers of the stages whose outputs are compared; ``None`` takes all.
        task: weight of the base-net's own task loss.
    """

    temperature: float = 1.0
    logits: float = 1.0
    features: float = 1.0
    stages: Sequence[int] | None = None
    task: float = 0.0

    def total(self, logits: Tensor, features: Tensor, task: Tensor) -> Tensor:
        """The weighted sum of the three losses."""
        return self.logits * logits + self.features * features + self.task * task


def two_pass_step(
    model: Student,
    inputs: Tensor,
    targets: Any,
    criterion: Criterion,
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    logits: float = 1.0,
    features: float = 1.0,
    stages: Sequence[int] | None = None,
    base_task: float = 0.0,
    further: Sequence[str] = (),
    weight: float = 1.0,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> StepLosses:
    """Add the gradients of one mini-batch to ``.grad`` (paper, section 3.2 and algorithm 1).

    The super-net learns the task, and in the same step the base-net learns the super-net's logits
    and stage outputs::

        L = alpha * criterion(y_super, targets)
            + (1 - alpha) * (KL(y_super || y_base) + sum_s KL(h_super^s || h_base^s))

    The first term is backpropagated before the second pass begins, so only one graph is alive at a
    time. No other sub-network is trained. Calling ``zero_grad`` before and ``step`` after is up to
    the caller.

    Args:
        model: the adaptive model, in train mode.
        inputs: the batch, as the model takes it.
        targets: what ``criterion`` takes as its second argument; the base-net needs none.
        criterion: the task loss, averaged over the batch, for example
            ``torch.nn.functional.cross_entropy``.
        alpha: weight of the task loss; ``1 - alpha`` weighs the distillation.
        temperature: ``T`` of both distillation losses.
        logits: weight of the distillation of the logits; 0 or ``False`` turns it off.
        features: weight of the distillation of the stage outputs; 0 or ``False`` turns it off.
        stages: numbers of the stages whose outputs are distilled; default: all.
        base_task: weight, beside the distillation, of the base-net's own task loss.
        further: more skip configs that are distilled as the base-net is, each in a pass of its
            own; their losses are added to those of the base-net.
        weight: of the whole loss; ``1 / n`` averages over ``n`` batches before one update.
        backward: what backpropagates a loss, for example ``accelerator.backward``.

    Returns:
        The losses, detached.

    Raises:
        SubpathError: ``alpha`` is not in [0, 1], ``temperature`` is not above 0 or a stage is not
            there, or the model's output is neither a tensor nor a tuple or list of tensors.
    """
    if not 0 <= alpha <= 1 or not temperature > 0:
        raise SubpathError(
            f"got alpha={alpha} and temperature={temperature}; expected alpha from 0 to 1 and a "
            "temperature above 0"
        )
    if stages is not None and not all(0 <= stage < len(model.stages) for stage in stages):
        raise SubpathError(
            f"got the stages {list(stages)}; expected numbers from 0 to {len(model.stages) - 1}"
        )
    what = Distillation(temperature, logits, features, stages, base_task)
    super_net = SkipConfig.super_net(len(model.stages))
    base_net = SkipConfig.base_net(len(model.stages))

    y_super, h_super, task = task_pass(
        model, inputs, targets, criterion, weight * alpha, super_net, backward
    )
    learned = task.new_zeros(3)
    for skip in (base_net, *further):
        losses = distillation_pass(
            model,
            inputs,
            y_super,
            h_super,
            weight * (1 - alpha),
            skip,
            what,
            backward,
            targets,
            criterion,
        )
        learned = learned + torch.stack(losses)
    y, h, own = learned
    total = alpha * task + (1 - alpha) * what.total(y, h, own)
    return StepLosses(task, y, h, own, total, y_super)


def task_pass(
    model: Student,
    inputs: Tensor,
    targets: Any,
    criterion: Criterion,
    weight: float,
    skip: str,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> tuple[Any, tuple[Tensor, ...], Tensor]:
    """The first pass: the task loss of ``skip`` (the super-net), backpropagated with ``weight``.

    A network with several heads has the mean of their losses.

    Returns:
        The output, the stage outputs and the loss, all detached.
    """
    output, stage_outputs = model.forward_features_of_stages(inputs, skip=skip)
    loss = task_loss(output, targets, criterion)
    backward(weight * loss)
    detached = tuple(head.detach() for head in heads(output))
    y_super = detached[0] if isinstance(output, Tensor) else detached
    return y_super, tuple(h.detach() for h in stage_outputs), loss.detach()


def distillation_pass(
    model: Student,
    inputs: Tensor,
    y_super: Any,
    h_super: tuple[Tensor, ...],
    weight: float,
    skip: str,
    what: Distillation,
    backward: Callable[[Tensor], None] = Tensor.backward,
    targets: Any = None,
    criterion: Criterion | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The second pass: what ``skip`` (the base-net) learns, backpropagated with ``weight``.

    Args:
        model: the adaptive model.
        inputs: the batch of the first pass.
        y_super: the super-net's output of the same step.
        h_super: its stage outputs.
        weight: of the sum of the losses.
        skip: the config that learns.
        what: the terms of the loss.
        backward: what backpropagates a loss.
        targets: for the config's own task loss, if ``what`` has one.
        criterion: for the same.

    Returns:
        The losses on the logits, the stage outputs and the task, detached and not weighted; 0
        where they are off.
    """
    y_base, h_base = model.forward_features_of_stages(inputs, skip=skip)
    channel_dims = [stage.channel_dim for stage in model.stages]
    logits, features = distillation_losses(y_base, h_base, y_super, h_super, channel_dims, what)
    task = logits.new_zeros(())
    if what.task and criterion is not None:
        task = task_loss(y_base, targets, criterion)
    backward(weight * what.total(logits, features, task))
    return logits.detach(), features.detach(), task.detach()


def distillation_losses(
    y_base: Any,
    h_base: Sequence[Tensor],
    y_super: Any,
    h_super: Sequence[Tensor],
    channel_dims: Sequence[int],
    what: Distillation,
) -> tuple[Tensor, Tensor]:
    """The two divergences of ``what``, not weighted; 0 where they are off."""
    logits = features = torch.zeros((), device=heads(y_base)[0].device)
    if what.logits:
        pairs = zip(heads(y_base), heads(y_super), strict=True)
        logits = torch.stack([logits_loss(b, s, what.temperature) for b, s in pairs]).mean()
    if what.features:
        chosen = range(len(h_base)) if what.stages is None else what.stages
        features = feature_loss(
            [h_base[stage] for stage in chosen],
            [h_super[stage] for stage in chosen],
            [channel_dims[stage] for stage in chosen],
            what.temperature,
        )
    return logits, features


def task_loss(output: Any, targets: Any, criterion: Criterion) -> Tensor:
    """The criterion's mean over the heads."""
    return torch.stack([criterion(head, targets) for head in heads(output)]).mean()


def heads(output: Any) -> tuple[Tensor, ...]:
    """The tensors of an output; a distilled DeiT has two in train mode."""
    heads = output if isinstance(output, (tuple, list)) else (output,)
    if not heads or not all(isinstance(head, Tensor) for head in heads):
        raise SubpathError(
            f"got a model output of type {type(output).__name__}; expected a tensor of logits or a "
            "tuple of them, one for each head"
        )
    return tuple(heads)
