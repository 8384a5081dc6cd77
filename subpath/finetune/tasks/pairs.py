"""What all tasks have in common whose data is two data sets of pairs."""

from __future__ import annotations

from torch.utils.data import default_collate

from ..loader import Batches, Collate, Data, Place, SeededBatches, drawn, in_order
from .base import Task


class PairsTask(Task):
    """A task with one data set to learn from and one that is held back, both of pairs.

    Attributes:
        train: pairs of an input and its target.
        validation: the same, which only evaluation sees.
    """

    train: Data
    validation: Data

    @property
    def unaugmented(self) -> Data:
        """The training pairs as they are in evaluation: not augmented."""
        return self.train

    @property
    def collate(self) -> Collate:
        """What makes one batch of a list of pairs."""
        return default_collate

    def training_batches(
        self, batch_size: int, seeds: tuple[int, ...], place: Place
    ) -> SeededBatches:
        """In an order of their own in each epoch."""
        return SeededBatches(self.train, batch_size, seeds, place, collate=self.collate)

    def validation_batches(self, batch_size: int, place: Place) -> Batches:
        """In order."""
        return in_order(self.validation, batch_size, place, self.collate)

    def unaugmented_batches(self, batch_size: int, count: int, seed: int, place: Place) -> Batches:
        """Drawn at random, as they are in evaluation."""
        return drawn(self.unaugmented, batch_size, count, seed, place, self.collate)
