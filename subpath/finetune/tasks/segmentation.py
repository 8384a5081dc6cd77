"""Semantic segmentation: a class for each pixel, cross-entropy, mean intersection over union."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checkpoint import Architecture
from ...distill import Classes, Outputs
from ...errors import DataError
from ..config_runner import in_single
from ..criterion import Criterion
from ..phase import PhaseSection
from ..processes import Processes
from ..recipe import Recipe
from .masks import IGNORED, MaskedImages, MasksSection
from .pairs import PairsTask


@dataclass(frozen=True)
class SemanticSegmentation(PairsTask):
    """A class for each pixel.

    Attributes:
        section: the recipe's ``data``.
        train: augmented images with their masks.
        validation: images that only evaluation sees.
    """

    metric: ClassVar[str] = "miou"
    outputs: ClassVar[Outputs] = Outputs({"": Classes(dim=1)})

    section: MasksSection
    train: MaskedImages
    validation: MaskedImages

    @classmethod
    def open(cls, recipe: Recipe) -> SemanticSegmentation:
        """Find the images and masks that the recipe names."""
        section: Any = recipe.data
        return cls(
            section,
            MaskedImages(section, section.train_split, augmented=True),
            MaskedImages(section, section.validation_split, augmented=False),
        )

    def architecture(self, recipe: Recipe) -> Architecture:
        """With as many classes as the masks have, unless the recipe says so in other words.

        segmentation_models_pytorch calls them ``classes``, transformers ``num_labels``.
        """
        given = recipe.model.arguments
        told = {"classes", "num_labels"} & given.keys()
        own = {} if told else {"num_classes": self.section.num_classes}
        return Architecture(recipe.model.name, {**own, **given})

    @property
    def input_size(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.section.input_size

    def example(self, batch: int) -> Tensor:
        """Grey images."""
        return torch.zeros(batch, *self.section.input_size)

    @property
    def unaugmented(self) -> MaskedImages:
        """Neither cropped nor flipped."""
        return self.train.unaugmented()

    def criterion(self, phase: PhaseSection) -> Criterion:
        """Cross-entropy of each pixel, in nats; logits of fewer pixels are interpolated."""

        def criterion(logits: Tensor, classes: Tensor) -> Tensor:
            return F.cross_entropy(
                at_size_of(classes, logits),
                classes,
                ignore_index=IGNORED,
                label_smoothing=phase.label_smoothing,
            )

        return criterion

    def read(self, output: Any) -> Tensor:
        """The logits, ``(batch, classes, rows, columns)``."""
        logits = output
        if isinstance(output, Mapping):
            logits = next((output[name] for name in ("out", "logits") if name in output), None)
        if not isinstance(logits, Tensor) or logits.dim() != 4:
            raise DataError(
                f"got a {type(output).__name__} from the network; expected logits of shape (batch, "
                "classes, rows, columns), or an output that has them as 'out' or 'logits'"
            )
        single: Tensor = in_single(logits)
        return single

    def measure(self) -> MeanIou:
        """Mean intersection over union."""
        return MeanIou(self.section.num_classes)


class MeanIou:
    """Intersection over union of each class over all pixels, averaged over classes, in percent.

    A class that is neither there nor told counts nowhere (as in torchmetrics, which counts).
    """

    def __init__(self, classes: int) -> None:
        try:
            from torchmetrics.classification import MulticlassJaccardIndex
        except ImportError as error:
            raise DataError(
                "got a segmentation, but torchmetrics, which counts its metric, is not installed; "
                "expected pip install 'subpath[segmentation]'"
            ) from error
        self._index = MulticlassJaccardIndex(
            classes, average="macro", ignore_index=IGNORED, sync_on_compute=False
        )

    def update(self, logits: Tensor, classes: Tensor) -> None:
        """Count a batch."""
        self._index.to(logits.device).update(at_size_of(classes, logits).argmax(1), classes)

    def result(self, processes: Processes) -> dict[str, float]:
        """``miou``."""
        index = self._index.to(processes.device)
        index.confmat = processes.sum(index.confmat)
        return {"miou": 100 * float(index.compute())}


def at_size_of(classes: Tensor, logits: Tensor) -> Tensor:
    """Logits at the resolution of the masks."""
    if logits.shape[-2:] == classes.shape[-2:]:
        return logits
    return F.interpolate(logits, classes.shape[-2:], mode="bilinear", align_corners=False)
