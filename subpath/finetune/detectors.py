"""Detectors of a size of your own: torchvision's RetinaNet on a backbone of timm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork

from .. import zoo

OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # sizes of anchors at one level (Lin et al. 2017)
SHAPES = (0.5, 1.0, 2.0)  # height by width
IN_A_GROUP = 8  # channels that are normalised together


class Pyramid(nn.Module):
    """The feature maps of a backbone, all with as many channels.

    Args:
        body: gives a list of maps, and tells their channels, as timm's with ``features_only``.
        out_channels: of each map.
    """

    def __init__(self, body: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.body, self.out_channels = body, out_channels
        info: Any = body.feature_info
        self.fpn = FeaturePyramidNetwork(info.channels(), out_channels, norm_layer=_norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps by number, the finest first."""
        maps = OrderedDict((str(n), m) for n, m in enumerate(self.body(images)))
        found: dict[str, Tensor] = self.fpn(maps)
        return found


def retinanet(
    num_classes: int,
    backbone: str = "resnet18",
    *,
    levels: Sequence[int] = (2, 3, 4),
    out_channels: int = 256,
    anchor: float = 4.0,
    backbone_arguments: Mapping[str, Any] | None = None,
    **more: Any,
) -> RetinaNet:
    """RetinaNet of torchvision (Lin et al. 2017) on any backbone of timm that gives feature maps.

    Heads and pyramid have group norms, as torchvision's second version of it; without them it
    hardly learns from random weights.

    Args:
        num_classes: with the background, which is 0.
        backbone: a name of timm.
        levels: which of its feature maps are looked at, from 0; in a ResNet, 2 has a stride of 8.
        out_channels: of the pyramid and the heads.
        anchor: edge of the smallest anchor of a level, as a multiple of its stride.
        backbone_arguments: for ``timm.create_model``, such as ``{"pretrained": True}``.
        **more: for ``torchvision.models.detection.RetinaNet``: ``min_size`` and ``max_size``, to
            which images are resized, ``detections_per_img``, ...

    Raises:
        ModelError: timm has no such network.
    """
    arguments = {"features_only": True, "out_indices": tuple(levels), **(backbone_arguments or {})}
    body: Any = zoo.create_model(backbone, **arguments)
    sizes = [anchor * stride for stride in body.feature_info.reduction()]
    anchors = AnchorGenerator(
        tuple(tuple(size * step for step in OCTAVE) for size in sizes), (SHAPES,) * len(sizes)
    )
    places = len(OCTAVE) * len(SHAPES)
    head = RetinaNetHead(out_channels, places, num_classes, norm_layer=_norm)
    pyramid = Pyramid(body, out_channels)
    return RetinaNet(pyramid, num_classes, anchor_generator=anchors, head=head, **more)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // IN_A_GROUP), channels)
