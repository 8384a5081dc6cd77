"""What a two-pass training may choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...distill import Outputs


@dataclass(frozen=True)
class TwoPassSettings:
    """Weights of the step, as :func:`subpath.distill.two_pass_step` has them.

    Attributes:
        alpha: weight of the super-net's task loss; ``1 - alpha`` weighs the distillation.
        temperature: ``T`` of both distillation losses.
        logits: weight of the distillation of the outputs.
        features: weight of the distillation of the stage outputs.
        stages: numbers of the stages whose outputs are distilled; ``None``: all.
        base_task: weight of the base-net's own task loss.
        further: more skip configs that are distilled as the base-net is.
        weight: of the whole loss; ``1 / alpha`` lets the task count as in plain training.
        outputs: how the parts of the output are compared; ``None``: as the class of the model
            tells.
        mask: gives, for the inputs of a batch, a tensor that is true at the places of the outputs
            that count; ``None``: in models for tokens, those that ``attention_mask`` keeps, in
            others all.
    """

    alpha: float = 0.5
    temperature: float = 1.0
    logits: float = 1.0
    features: float = 1.0
    stages: Sequence[int] | None = None
    base_task: float = 0.0
    further: Sequence[str] = ()
    weight: float = 1.0
    outputs: Outputs | None = None
    mask: Callable[[Mapping[str, Any]], Tensor] | None = None
