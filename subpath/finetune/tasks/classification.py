"""Image classification: cross-entropy, top-1 accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...checkpoint import Architecture
from ..criterion import Criterion, Mix, make_criterion, make_mix
from ..data import ImageFormat, Split, image_format, open_data
from ..loader import Batches, Place, TrainingBatches, unaugmented_batches, validation_batches
from ..metrics import TopOne
from ..network import architecture
from ..phase import PhaseSection
from ..recipe import DataSection, Recipe
from .base import Task


@dataclass(frozen=True)
class ImageClassification(Task):
    """One label for each image.

    Attributes:
        section: the recipe's ``data``.
        split: training images and validation images.
        form: of the images; known once the network is.
    """

    metric: ClassVar[str] = "top1"

    section: DataSection
    split: Split
    form: ImageFormat | None = None

    @classmethod
    def open(cls, recipe: Recipe) -> ImageClassification:
        """Open the data set that the recipe names."""
        return cls(recipe.data, open_data(recipe.data, recipe.seed))

    def architecture(self, recipe: Recipe) -> Architecture:
        """With as many classes as the data has, and as many channels."""
        return architecture(recipe, self.split.num_classes)

    def fitted(self, network: nn.Module) -> ImageClassification:
        """With images of the form that timm's data config of the network asks for."""
        return replace(self, form=image_format(self.section, network))

    @property
    def _form(self) -> ImageFormat:
        assert self.form is not None
        return self.form

    @property
    def input_size(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self._form.size

    def example(self, batch: int) -> Tensor:
        """Black images."""
        return torch.zeros(batch, *self._form.size)

    def training_batches(
        self, batch_size: int, seeds: tuple[int, ...], place: Place
    ) -> TrainingBatches:
        """Augmented as the recipe says."""
        augment = self.section.augment
        return TrainingBatches(self.split.train, self._form, augment, batch_size, seeds, place)

    def validation_batches(self, batch_size: int, place: Place) -> Batches:
        """In order, not augmented."""
        return validation_batches(self.split.validation, self._form, batch_size, place)

    def unaugmented_batches(self, batch_size: int, count: int, seed: int, place: Place) -> Batches:
        """Drawn at random, not augmented."""
        return unaugmented_batches(self.split.train, self._form, batch_size, count, seed, place)

    def mix(self, phase: PhaseSection) -> Mix:
        """Mixup and cutmix."""
        return make_mix(phase, self.split.num_classes)

    def criterion(self, phase: PhaseSection) -> Criterion:
        """Cross-entropy with smoothed labels."""
        return make_criterion(phase)

    def measure(self) -> TopOne:
        """Top-1 accuracy."""
        return TopOne()
