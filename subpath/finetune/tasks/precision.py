"""Mean average precision, as COCO counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import DataError
from ..processes import Processes


class AveragePrecision:
    """``map`` (mean over overlaps of 0.5 to 0.95) and ``map50`` (overlap 0.5), in percent.

    pycocotools counts them, through torchmetrics: of an image the 100 surest objects. What all
    processes found is brought together first, as precision is no mean over images.
    """

    def __init__(self) -> None:
        try:
            import pycocotools  # noqa: F401 - torchmetrics loads it when it is used
            from torchmetrics.detection import MeanAveragePrecision
        except ImportError as error:
            raise DataError(
                "got a detection, but torchmetrics or pycocotools, which count its metric, are not "
                "installed; expected pip install 'subpath[detection]'"
            ) from error
        self._counts = MeanAveragePrecision(sync_on_compute=False)
        self._counts.warn_on_many_detections = False
        self._images: list[Tensor] = []
        self._found: list[Tensor] = []
        self._wanted: list[Tensor] = []

    def update(self, output: Mapping[str, Any], targets: Sequence[Any]) -> None:
        """Count a batch: for each image what was found, and what there was."""
        for told, known in zip(output["found"], targets, strict=True):
            image = known["image"]
            self._images.append(image.view(1, 1).float())
            self._found.append(_rows(image, told, "scores"))
            self._wanted.append(_rows(image, known, "crowd", "area"))

    def result(self, processes: Processes) -> dict[str, float]:
        """``map`` and ``map50``."""
        images, found, wanted = (
            of_all(torch.cat(rows), processes).cpu()
            for rows in (self._images, self._found, self._wanted)
        )
        for image in images[:, 0].sort().values:
            told, known = found[found[:, 0] == image], wanted[wanted[:, 0] == image]
            guesses = {"boxes": told[:, 2:6], "labels": told[:, 1].long(), "scores": told[:, 6]}
            truth = {"boxes": known[:, 2:6], "labels": known[:, 1].long(), "area": known[:, 7]}
            self._counts.update([guesses], [{**truth, "iscrowd": known[:, 6].long()}])
        counted = self._counts.compute()
        return {"map": 100 * float(counted["map"]), "map50": 100 * float(counted["map_50"])}


def _rows(image: Tensor, objects: Mapping[str, Tensor], *names: str) -> Tensor:
    """A row for each object: number of its image, label, box, and what else is asked for."""
    label = objects["labels"].float()
    columns = [image.float().expand(len(label)), label, *objects["boxes"].float().unbind(1)]
    return torch.stack([*columns, *(objects[name].float() for name in names)], 1)


def of_all(rows: Tensor, processes: Processes) -> Tensor:
    """The rows of all processes, each of which has another number of them."""
    if processes.count == 1:
        return rows
    padded = processes.accelerator.pad_across_processes(rows, dim=0, pad_index=-1)
    gathered: Tensor = processes.accelerator.gather(padded)
    return gathered[gathered[:, 0] >= 0]
