"""Which tokens count: those that padding has not made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...distill import pooled
from ...planning import StagePlan
from .outputs import gives_tokens

IGNORED = -100  # transformers' label of what is no target


def output_mask(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor | None:
    """True at the tokens whose logits are compared; ``None``: all.

    They are those that ``attention_mask`` keeps, whether they have a label or not; in an
    encoder-decoder, those of the decoder.
    """
    if not gives_tokens(model):
        return None
    return _decoder_mask(inputs) if is_pair(model) else _mask(inputs, "attention_mask")


def vectors(
    model: nn.Module,
    stages: Sequence[StagePlan],
    features: Sequence[Tensor],
    inputs: Mapping[str, Any],
) -> tuple[Tensor, ...]:
    """Each stage's output as one vector a sample, ``(batch, channels)``.

    It is the mean over the tokens that the mask keeps, where a mask has as many tokens as the
    stage's output, and else over all of them.
    """
    found = []
    for stage, feature in zip(stages, features, strict=True):
        mask = _mask(inputs, "attention_mask")
        if is_pair(model) and "decoder" in stage.name.split("."):
            mask = _decoder_mask(inputs)
        places = feature.movedim(stage.channel_dim, 1)
        fits = mask is not None and mask.shape == (places.shape[0], *places.shape[2:])
        found.append(pooled(feature, stage.channel_dim, mask if fits else None))
    return tuple(found)


def is_pair(model: nn.Module) -> bool:
    """Whether it is an encoder with a decoder."""
    config: Any = getattr(model, "config", None)
    return bool(getattr(config, "is_encoder_decoder", False))


def _decoder_mask(inputs: Mapping[str, Any]) -> Tensor | None:
    given = _mask(inputs, "decoder_attention_mask")
    if given is not None:
        return given
    labels = inputs.get("labels")
    return labels != IGNORED if isinstance(labels, Tensor) and labels.dim() == 2 else None


def _mask(inputs: Mapping[str, Any], name: str) -> Tensor | None:
    """A mask of tokens; one of pairs of tokens tells of no padding."""
    mask = inputs.get(name)
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
