"""The two distillation losses: on the logits and on the outputs of the stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SubpathError


def logits_loss(base: Tensor, super_: Tensor, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(y_super || y_base)``, averaged over the batch (paper, section 3.2).

    Both sides are softened by a softmax over dimension 1 of ``logits / T``. All classes take part,
    however many there are.

    Args:
        base: logits of the base-net, ``(batch, classes)``; gradients flow into these.
        super_: logits of the super-net, of the same shape; taken as a constant.
        temperature: ``T``; larger is softer.

    Returns:
        A scalar in nats, at least 0; computed in single precision or better.

    Raises:
        SubpathError: the shapes differ.
    """
    if base.shape != super_.shape or base.dim() < 2:
        raise SubpathError(
            f"got outputs of shape {tuple(base.shape)} (base-net) and {tuple(super_.shape)} "
            "(super-net); expected the same shape (batch, classes)"
        )
    precision = torch.promote_types(base.dtype, torch.float32)
    student = F.log_softmax(base.to(precision) / temperature, dim=1)
    teacher = F.log_softmax(super_.detach().to(precision) / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def feature_loss(
    base: Sequence[Tensor],
    super_: Sequence[Tensor],
    channel_dims: Sequence[int],
    temperature: float = 1.0,
) -> Tensor:
    """``sum_s T^2 KL(h_super^s || h_base^s)`` over the stages (paper, section 3.2).

    ``h^s`` is the output of stage ``s``, pooled to one vector a sample and softened by a softmax
    over channels.

    Args:
        base: the stage outputs of the base-net, batch first; gradients flow into these.
        super_: those of the super-net, of the same shapes; taken as constants.
        channel_dims: where the channels are in each: ``stage.channel_dim`` of ``model.stages``.
        temperature: ``T``; larger is softer.

    Returns:
        A scalar in nats, at least 0.

    Raises:
        SubpathError: the numbers of tensors or their shapes differ.
    """
    if not len(base) == len(super_) == len(channel_dims) > 0:
        raise SubpathError(
            f"got {len(base)} stage outputs of the base-net, {len(super_)} of the super-net and "
            f"{len(channel_dims)} channel dimensions; expected as many of each, at least one"
        )
    losses = [
        logits_loss(pooled(h_base, dim), pooled(h_super, dim), temperature)
        for h_base, h_super, dim in zip(base, super_, channel_dims, strict=True)
    ]
    return torch.stack(losses).sum()


def pooled(features: Tensor, channel_dim: int) -> Tensor:
    """The mean over everything but batch and channels, ``(batch, channels)``, in single precision.

    Args:
        features: batch first, for example ``(B, C, H, W)``, ``(B, H, W, C)`` or ``(B, N, C)``.
        channel_dim: where the channels are; it may count from the end.
    """
    if features.dim() <= 2:
        return features
    precision = torch.promote_types(features.dtype, torch.float32)
    return features.movedim(channel_dim, 1).flatten(2).mean(2, dtype=precision)
