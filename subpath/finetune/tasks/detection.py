"""Object detection by torchvision's detectors: their own losses, mean average precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...checkpoint import Architecture
from ...distill import Outputs
from ...errors import DataError, RecipeError
from ..config_runner import Heard
from ..criterion import Criterion
from ..loader import Collate
from ..phase import PhaseSection
from ..recipe import Recipe
from .anchors import EXCLUSIVE, Anchors, at_anchors, dense_head
from .boxes import BoxesSection, Pictures, together
from .pairs import PairsTask
from .precision import AveragePrecision


@dataclass(frozen=True)
class ObjectDetection(PairsTask):
    """Boxes and categories of the objects in an image.

    Attributes:
        section: the recipe's ``data``.
        train: images to learn from.
        validation: images that only evaluation sees.
        head: path of the module whose outputs are distilled; known once the network is.
        exclusive: whether its scores are classes that exclude each other.
    """

    metric: ClassVar[str] = "map"

    section: BoxesSection
    train: Pictures
    validation: Pictures
    head: str | None = None
    exclusive: bool = False

    @classmethod
    def open(cls, recipe: Recipe) -> ObjectDetection:
        """Read the files that the recipe names."""
        if recipe.distill.teacher is not None:
            raise RecipeError(
                "got distill.teacher for object detection, whose losses are the detector's own; "
                "expected none"
            )
        section: Any = recipe.data
        train = Pictures(section, section.train_images, section.train_annotations, training=True)
        images, annotations = section.validation_images, section.validation_annotations
        validation = Pictures(section, images, annotations, training=False)
        if train.categories != validation.categories:
            raise DataError(
                f"got the categories {train.categories} in {section.train_annotations} and "
                f"{validation.categories} in {annotations}; expected the same"
            )
        return cls(section, train, validation)

    def architecture(self, recipe: Recipe) -> Architecture:
        """With a class for each number up to the highest category, and 0 for the background."""
        own = {"num_classes": max(self.train.categories) + 1}
        return Architecture(recipe.model.name, {**own, **recipe.model.arguments})

    def fitted(self, network: nn.Module) -> ObjectDetection:
        """With what the network's dense head says at its anchors to be compared."""
        found = dense_head(network)
        if found is None:
            return replace(self, head=None)
        return replace(self, head=found[0], exclusive=isinstance(found[1], EXCLUSIVE))

    @property
    def heard(self) -> tuple[str, ...]:
        """The dense head."""
        return () if self.head is None else (self.head,)

    @property
    def outputs(self) -> Outputs:
        """Of each anchor scores and box; without a dense head, the stage outputs alone."""
        return Outputs({} if self.head is None else {"anchors": Anchors(self.exclusive)})

    def example(self, batch: int) -> dict[str, Any]:
        """Grey images with one object each, which training alone looks at."""
        height, width = self.section.example_size
        box = torch.tensor([[width / 4, height / 4, width / 2, height / 2]])
        target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64)}
        image = torch.full((3, height, width), 0.5)
        return {"images": [image] * batch, "targets": [target] * batch}

    def example_to_load(self) -> dict[str, Any]:
        """A detector takes lists."""
        return self.example(2)

    @property
    def unaugmented(self) -> Pictures:
        """Not flipped."""
        return self.train.unaugmented()

    @property
    def collate(self) -> Collate:
        """Lists of images and of what is in them."""
        return together

    def criterion(self, phase: PhaseSection) -> Criterion:
        """The sum of the detector's losses."""

        def criterion(output: Mapping[str, Any], targets: Any) -> Tensor:
            if "loss" not in output:
                raise DataError(
                    "got a detector in eval mode, which tells no losses; expected one in train mode"
                )
            loss: Tensor = output["loss"]
            return loss

        return criterion

    def read(self, output: Any) -> Any:
        """In train mode the sum of the losses and what was said at anchors, else what was found."""
        losses, said = (output.output, output.said) if isinstance(output, Heard) else (output, {})
        if isinstance(losses, Mapping) and losses:
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            heads = [at_anchors(part) for part in said.values()]
            return {"loss": total} | ({"anchors": heads[0]} if heads else {})
        if isinstance(losses, list) and all("scores" in found for found in losses):
            return {"found": losses}
        raise DataError(
            f"got a {type(losses).__name__} from the network; expected one of torchvision's "
            "detectors, which gives a dict of losses in train mode and else, for each image, a "
            "dict of boxes, labels and scores"
        )

    def measure(self) -> AveragePrecision:
        """Mean average precision."""
        return AveragePrecision()
