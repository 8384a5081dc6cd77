"""The two distillation losses: on the logits and on the outputs of the stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SubpathError


def logits_loss(
    base: Tensor,
    super_: Tensor,
    temperature: float = 1.0,
    *,
    dim: int | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``T^2 KL(y_super || y_base)`` at each place, averaged over them (paper, section 3.2).

    Both sides are softened by a softmax over the classes of ``logits / T``. All classes take part,
    however many there are. A place is a sample, or a token or pixel of one.

    Args:
        base: logits of the base-net, ``(batch, classes)``; gradients flow into these.
        super_: logits of the super-net, of the same shape; taken as a constant.
        temperature: ``T``; larger is softer.
        dim: where the classes are, if there are more than two dimensions; it may count from the
            end.
        mask: true at the places that count, of the logits' shape without the classes; default: all.

    Returns:
        A scalar in nats a place, at least 0; computed in single precision or better.

    Raises:
        SubpathError: the shapes differ, the mask's shape is another, or it is not told where the
            classes are.
    """
    if base.shape != super_.shape or base.dim() < 2:
        raise SubpathError(
            f"got outputs of shape {tuple(base.shape)} (base-net) and {tuple(super_.shape)} "
            "(super-net); expected the same shape (batch, classes)"
        )
    if dim is None and base.dim() > 2:
        raise SubpathError(
            f"got logits of shape {tuple(base.shape)} and no dim; expected dim=-1 for tokens or "
            "dim=1 for pixels"
        )
    classes = 1 if dim is None else dim
    if not -base.dim() <= classes < base.dim() or classes % base.dim() == 0:
        raise SubpathError(
            f"got dim={dim} for logits of shape {tuple(base.shape)}; expected a dimension after "
            "the batch's"
        )
    precision = torch.promote_types(base.dtype, torch.float32)
    student = F.log_softmax(base.to(precision) / temperature, dim=classes)
    teacher = F.log_softmax(super_.detach().to(precision) / temperature, dim=classes)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(classes)
    return mean_over_places(divergence, mask) * temperature**2


def mean_over_places(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of ``values`` where ``mask``, of the same shape, is true; 0 if it nowhere is."""
    if mask is None:
        return values.mean()
    if mask.shape != values.shape:
        raise SubpathError(
            f"got a mask of shape {tuple(mask.shape)}; expected {tuple(values.shape)}, one element "
            "for each place of the output"
        )
    kept = mask.bool()
    return values.masked_fill(~kept, 0.0).sum() / kept.sum().clamp(min=1)


def feature_loss(
    base: Sequence[Tensor],
    super_: Sequence[Tensor],
    channel_dims: Sequence[int],
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """``sum_s T^2 KL(h_super^s || h_base^s)`` over the stages (paper, section 3.2).

    ``h^s`` is the output of stage ``s``, pooled to one vector a sample and softened by a softmax
    over channels.

    Args:
        base: the stage outputs of the base-net, batch first; gradients flow into these.
        super_: those of the super-net, of the same shapes; taken as constants.
        channel_dims: where the channels are in each: ``stage.channel_dim`` of ``model.stages``.
        temperature: ``T``; larger is softer.
        mask: true at the tokens that are pooled, ``(batch, tokens)``; default: all.

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
        logits_loss(pooled(h_base, dim, mask), pooled(h_super, dim, mask), temperature)
        for h_base, h_super, dim in zip(base, super_, channel_dims, strict=True)
    ]
    return torch.stack(losses).sum()


def pooled(features: Tensor, channel_dim: int, mask: Tensor | None = None) -> Tensor:
    """The mean over everything but batch and channels, ``(batch, channels)``, in single precision.

    Args:
        features: batch first, for example ``(B, C, H, W)``, ``(B, H, W, C)`` or ``(B, N, C)``.
        channel_dim: where the channels are; it may count from the end.
        mask: true at the places that count, of the features' shape without the channels; a sample
            without any gives zeros.

    Raises:
        SubpathError: the mask's shape is another.
    """
    if features.dim() <= 2:
        return features
    precision = torch.promote_types(features.dtype, torch.float32)
    places = features.movedim(channel_dim, 1)
    if mask is None:
        return places.flatten(2).mean(2, dtype=precision)
    expected = (places.shape[0], *places.shape[2:])
    if mask.shape != expected:
        raise SubpathError(
            f"got a mask of shape {tuple(mask.shape)} for a stage output of shape "
            f"{tuple(features.shape)}; expected {expected}"
        )
    kept = mask.bool().flatten(1).unsqueeze(1)
    total = places.flatten(2).to(precision).masked_fill(~kept, 0.0).sum(2)
    return total / kept.sum(2).clamp(min=1)
