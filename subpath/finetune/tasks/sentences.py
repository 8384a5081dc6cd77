"""Text classification: cross-entropy, top-1 accuracy and F1; padding counts nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...checkpoint import Architecture
from ...distill import Classes, Outputs
from ...errors import DataError
from ..config_runner import logits_in
from ..criterion import Criterion, make_criterion
from ..loader import Collate
from ..metrics import TopOne
from ..phase import PhaseSection
from ..processes import Processes
from ..recipe import Recipe
from .labelled import MASK, LabelledTextSection, Texts, filled_up, open_texts
from .pairs import PairsTask
from .tokens import Tokens, own_arguments


@dataclass(frozen=True)
class TextClassification(PairsTask):
    """One label for each text.

    Attributes:
        section: the recipe's ``data``.
        train: texts to learn from.
        validation: texts of other files.
        classes: the labels, in the order of their numbers.
        tokens: how texts become inputs.
    """

    metric: ClassVar[str] = "top1"
    outputs: ClassVar[Outputs] = Outputs({"": Classes()})
    padding: ClassVar[str] = MASK

    section: LabelledTextSection
    train: Texts
    validation: Texts
    classes: Sequence[str | int]
    tokens: Tokens

    @classmethod
    def open(cls, recipe: Recipe) -> TextClassification:
        """Read the texts that the recipe names."""
        section: Any = recipe.data
        return cls(section, *open_texts(section, recipe.seed))

    def architecture(self, recipe: Recipe) -> Architecture:
        """With as many labels and tokens as the texts have."""
        name, tokens = recipe.model.name, self.tokens
        told = {"vocab_size": tokens.vocabulary, "pad_token_id": tokens.padding}
        own = {"num_labels": len(self.classes), **own_arguments(name, told)}
        return Architecture(name, {**own, **recipe.model.arguments})

    def example(self, batch: int) -> dict[str, Tensor]:
        """Texts of the greatest length, of no meaning."""
        ones = torch.ones(batch, self.section.length, dtype=torch.int64)
        return {"input_ids": ones, MASK: ones}

    def example_to_load(self) -> dict[str, Tensor]:
        """Tokens are no numbers, as zeros of a saved size would be."""
        return self.example(2)

    @property
    def collate(self) -> Collate:
        """Texts of a batch are filled up to the longest."""
        return partial(filled_up, padding=self.tokens.padding)

    def criterion(self, phase: PhaseSection) -> Criterion:
        """Cross-entropy with smoothed labels."""
        return make_criterion(phase)

    def read(self, output: Any) -> Tensor:
        """The logits, ``(batch, classes)``."""
        return logits_in(output, ("batch", "classes"))

    def measure(self) -> TopOneAndF1:
        """Top-1 accuracy and F1."""
        return TopOneAndF1(len(self.classes))


class TopOneAndF1:
    """Top-1 accuracy, and F1 averaged over classes (as torchmetrics counts it), in percent."""

    def __init__(self, classes: int) -> None:
        try:
            from torchmetrics.classification import MulticlassF1Score
        except ImportError as error:
            raise DataError(
                "got a text classification, but torchmetrics, which counts its metric, is not "
                "installed; expected pip install 'subpath[text]'"
            ) from error
        self._top1 = TopOne()
        self._f1 = MulticlassF1Score(classes, average="macro", sync_on_compute=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        self._top1.update(logits, targets)
        self._f1.to(logits.device).update(logits, targets)

    def result(self, processes: Processes) -> dict[str, float]:
        """``top1`` and ``f1``."""
        counted = self._f1.to(processes.device)
        for name in ("tp", "fp", "tn", "fn"):
            setattr(counted, name, processes.sum(getattr(counted, name)))
        return {**self._top1.result(processes), "f1": 100 * float(counted.compute())}
