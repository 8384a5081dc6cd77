"""What a detector says at each of its anchors, and how base-net and super-net are compared on it.

The boxes that a detector gives cannot be compared one by one: each net keeps others. What its dense
head says of each anchor can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSDHead
from torchvision.models.detection.ssdlite import SSDLiteHead

EXCLUSIVE = (SSDHead, SSDLiteHead)
"""Heads whose scores are a softmax over classes, the first of which is the background."""
HEADS = (RetinaNetHead, FCOSHead, RPNHead, *EXCLUSIVE)
"""torchvision's; a region proposal network tells object or not, the others classes."""

BOX = 4


def dense_head(network: nn.Module) -> tuple[str, nn.Module] | None:
    """The module that says something of each anchor, with its path; ``None`` if there is none."""
    return next(
        ((path, module) for path, module in network.named_modules() if isinstance(module, HEADS)),
        None,
    )


def at_anchors(said: Any) -> Tensor:
    """What a head says, ``(batch, anchors, scores + 4)``: scores before softmax or sigmoid, boxes.

    Args:
        said: a dict with ``cls_logits`` and ``bbox_regression``, or (of a region proposal network)
            both as lists of maps ``(batch, anchors, rows, columns)``.
    """
    if isinstance(said, Mapping):
        scores, boxes = said["cls_logits"], said["bbox_regression"]
    else:
        scores = torch.cat([level.flatten(1) for level in said[0]], 1).unsqueeze(-1)
        boxes = torch.cat(
            [level.unflatten(1, (-1, BOX)).movedim(2, -1).flatten(1, 3) for level in said[1]], 1
        )
    return torch.cat([scores, boxes], -1).float()


@dataclass(frozen=True)
class Anchors:
    """Divergence of the scores plus L1 distance of the boxes, a weighted mean over the anchors.

    An anchor weighs what the super-net's highest score of an object there is: almost all anchors
    are background, and a plain mean would see little else.

    Attributes:
        exclusive: the scores are classes that exclude each other, the first of them the background
            (softmax: SSD); else each is a yes or no (sigmoid).
    """

    exclusive: bool = False

    def __call__(
        self, base: Tensor, super_: Tensor, mask: Tensor | None, temperature: float
    ) -> Tensor:
        """Nats and units of the regression an anchor; the temperature softens the scores."""
        scores, boxes = base[..., :-BOX] / temperature, base[..., -BOX:]
        known, corners = super_[..., :-BOX] / temperature, super_[..., -BOX:]
        if self.exclusive:
            of_objects = super_[..., :-BOX].softmax(-1)[..., 1:]
            told = known.log_softmax(-1)
            divergence = (told.exp() * (told - scores.log_softmax(-1))).sum(-1)
        else:
            of_objects = super_[..., :-BOX].sigmoid()
            divergence = _divergence_of_yes_or_no(scores, known).sum(-1)
        distance = (boxes - corners).abs().sum(-1)
        weights = of_objects.amax(-1)
        far = temperature**2 * divergence + distance
        return (weights * far).sum() / weights.sum().clamp(min=1e-9)


def _divergence_of_yes_or_no(logits: Tensor, known: Tensor) -> Tensor:
    """``KL(known || logits)`` of each pair of Bernoulli distributions."""
    yes, no = known.sigmoid(), (-known).sigmoid()
    return yes * (F.logsigmoid(known) - F.logsigmoid(logits)) + no * (
        F.logsigmoid(-known) - F.logsigmoid(-logits)
    )
