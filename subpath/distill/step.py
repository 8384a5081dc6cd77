"""One training step of self-distillation: two passes, two backward passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..adaptive.model import AdaptiveModel
from ..errors import SubpathError
from ..skip import SkipConfig
from .losses import feature_loss, logits_loss


@dataclass(frozen=True)
class StepLosses:
    """What one step computed; all without gradient.

    Attributes:
        task: the task loss of the super-net, not weighted.
        logits: the distillation loss on the logits, not weighted.
        features: the distillation loss on the stage outputs, not weighted (0 when it is off).
        total: ``alpha * task + (1 - alpha) * (logits + features)``, what the gradients are of.
        output: the super-net's output.
    """

    task: Tensor
    logits: Tensor
    features: Tensor
    total: Tensor
    output: Any


def two_pass_step(
    model: AdaptiveModel,
    inputs: Tensor,
    targets: Any,
    criterion: Callable[[Tensor, Any], Tensor],
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    features: bool = True,
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
        features: also distil the outputs of the stages.

    Returns:
        The losses, detached.

    Raises:
        SubpathError: ``alpha`` is not in [0, 1] or ``temperature`` is not above 0, or the model's
            output is neither a tensor nor a tuple or list of tensors.
    """
    if not 0 <= alpha <= 1 or not temperature > 0:
        raise SubpathError(
            f"got alpha={alpha} and temperature={temperature}; expected alpha from 0 to 1 and a "
            "temperature above 0"
        )
    y_super, h_super, task = task_pass(model, inputs, targets, criterion, alpha)
    logits, stages = distillation_pass(
        model, inputs, y_super, h_super if features else (), 1 - alpha, temperature
    )
    total = alpha * task + (1 - alpha) * (logits + stages)
    return StepLosses(task, logits, stages, total, y_super)


def task_pass(
    model: AdaptiveModel,
    inputs: Tensor,
    targets: Any,
    criterion: Callable[[Tensor, Any], Tensor],
    weight: float,
) -> tuple[Any, tuple[Tensor, ...], Tensor]:
    """The first pass: the super-net's task loss, backpropagated with ``weight``.

    A network with several heads has the mean of their losses.

    Returns:
        The super-net's output, its stage outputs and the loss, all detached.
    """
    super_net = SkipConfig.super_net(len(model.stages))
    output, stage_outputs = model.forward_features_of_stages(inputs, skip=super_net)
    losses = [criterion(head, targets) for head in _heads(output)]
    loss = torch.stack(losses).mean()
    (weight * loss).backward()
    detached = tuple(head.detach() for head in _heads(output))
    y_super = detached[0] if isinstance(output, Tensor) else detached
    return y_super, tuple(h.detach() for h in stage_outputs), loss.detach()


def distillation_pass(
    model: AdaptiveModel,
    inputs: Tensor,
    y_super: Any,
    h_super: tuple[Tensor, ...],
    weight: float,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The second pass: the base-net's distillation losses, backpropagated with ``weight``.

    Args:
        model: the adaptive model.
        inputs: the batch of the first pass.
        y_super: the super-net's output of the same step.
        h_super: its stage outputs; empty turns the distillation of features off.
        weight: of the sum of the two losses.
        temperature: ``T`` of both losses.

    Returns:
        The losses on the logits and on the stage outputs, detached and not weighted.
    """
    base_net = SkipConfig.base_net(len(model.stages))
    y_base, h_base = model.forward_features_of_stages(inputs, skip=base_net)
    pairs = zip(_heads(y_base), _heads(y_super), strict=True)
    logits = torch.stack([logits_loss(b, s, temperature) for b, s in pairs]).mean()
    if h_super:
        channel_dims = [stage.channel_dim for stage in model.stages]
        stages = feature_loss(h_base, h_super, channel_dims, temperature)
    else:
        stages = logits.new_zeros(())
    (weight * (logits + stages)).backward()
    return logits.detach(), stages.detach()


def _heads(output: Any) -> tuple[Tensor, ...]:
    """The tensors of an output; a distilled DeiT has two in train mode."""
    heads = output if isinstance(output, (tuple, list)) else (output,)
    if not heads or not all(isinstance(head, Tensor) for head in heads):
        raise SubpathError(
            f"got a model output of type {type(output).__name__}; expected a tensor of logits or a "
            "tuple of them, one for each head"
        )
    return tuple(heads)
