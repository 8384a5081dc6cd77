"""Causal language modelling on local text: cross-entropy of the next token, perplexity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checkpoint import Architecture
from ...distill import Classes, Outputs
from ..config_runner import logits_in
from ..criterion import Criterion
from ..phase import PhaseSection
from ..processes import Processes
from ..recipe import Recipe
from .pairs import PairsTask
from .text import Pieces, TextSection, open_text
from .tokens import own_arguments

LARGEST = 700.0  # nats whose exponential is still a number


@dataclass(frozen=True)
class LanguageModelling(PairsTask):
    """The next token at each place of pieces of text, all of one length.

    Attributes:
        section: the recipe's ``data``.
        train: pieces to learn from.
        validation: pieces of other files.
        vocabulary: how many tokens there are.
    """

    metric: ClassVar[str] = "perplexity"
    rising: ClassVar[bool] = False
    outputs: ClassVar[Outputs] = Outputs({"": Classes(dim=-1)})

    section: TextSection
    train: Pieces
    validation: Pieces
    vocabulary: int

    @classmethod
    def open(cls, recipe: Recipe) -> LanguageModelling:
        """Read and cut the text that the recipe names."""
        section: Any = recipe.data
        return cls(section, *open_text(section, recipe.seed))

    def architecture(self, recipe: Recipe) -> Architecture:
        """With as many tokens as the text is written in."""
        name = recipe.model.name
        own = own_arguments(name, {"vocab_size": self.vocabulary})
        return Architecture(name, {**own, **recipe.model.arguments})

    def example(self, batch: int) -> Tensor:
        """The first token, again and again."""
        return torch.zeros(batch, self.section.length, dtype=torch.int64)

    def example_to_load(self) -> Tensor:
        """Tokens are no numbers, as zeros of the saved size would be."""
        return self.example(2)

    def criterion(self, phase: PhaseSection) -> Criterion:
        """Cross-entropy of each token but a piece's first, in nats a token."""

        def criterion(logits: Tensor, ids: Tensor) -> Tensor:
            return next_token_loss(logits, ids, label_smoothing=phase.label_smoothing)

        return criterion

    def read(self, output: Any) -> Tensor:
        """The logits, ``(batch, tokens, vocabulary)``."""
        return logits_in(output, ("batch", "tokens", "vocabulary"))

    def measure(self) -> Perplexity:
        """Perplexity."""
        return Perplexity()


class Perplexity:
    """``exp`` of the mean cross-entropy of a token: how many tokens it seems to be one of."""

    def __init__(self) -> None:
        self._nats, self._tokens = 0.0, 0

    def update(self, logits: Tensor, ids: Tensor) -> None:
        """Count a batch."""
        self._nats += float(next_token_loss(logits, ids, reduction="sum"))
        self._tokens += ids[:, 1:].numel()

    def result(self, processes: Processes) -> dict[str, float]:
        """``perplexity`` of a token."""
        counts = torch.tensor([self._nats, self._tokens], device=processes.device)
        nats, tokens = processes.sum(counts).tolist()
        return {"perplexity": math.exp(min(nats / tokens, LARGEST))}


def next_token_loss(logits: Tensor, ids: Tensor, **how: Any) -> Tensor:
    """Cross-entropy of each token given those before it."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), **how)
