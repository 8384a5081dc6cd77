"""torchvision's detectors, segmenters and flow networks, whole."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import image, positive

_TWO_STEPS: dict[str, Any] = {
    "rpn_pre_nms_top_n_train": 40,
    "rpn_pre_nms_top_n_test": 40,
    "rpn_post_nms_top_n_train": 8,
    "rpn_post_nms_top_n_test": 8,
    "rpn_batch_size_per_image": 16,
    "box_batch_size_per_image": 8,
    "box_detections_per_img": 4,
}
_BARE: dict[str, Any] = {"weights_backbone": None, "num_classes": 5}


def _make(name: str, arguments: dict[str, Any]) -> nn.Module:
    from torchvision.models import get_model

    made: nn.Module = get_model(name, weights=None, **arguments)
    return made


def _pictures_and_boxes() -> Inputs:
    """Pictures of two sizes, and what is to be found in them, which only training reads."""
    pictures = [positive(3, 64, 64), positive(3, 48, 64)]
    return Inputs((pictures, [_found(picture) for picture in pictures]))


def _found(picture: Tensor) -> dict[str, Tensor]:
    height, width = picture.shape[1:]
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, 10:40, 8:40] = 1
    return {
        "boxes": torch.tensor([[8.0, 10.0, 40.0, 40.0]]),
        "labels": torch.tensor([1]),
        "masks": mask,
        "keypoints": torch.tensor([[[20.0, 20.0, 1.0]] * 17]),
    }


def _two_frames() -> Inputs:
    frames = positive(4, 3, 128, 128)
    return Inputs((frames[:2], frames[2:]), {"num_flow_updates": 2})


def _detector(name: str, **more: Any) -> Network:
    arguments = {**_BARE, "min_size": 64, "max_size": 64, **more}
    return Network(partial(_make, name, arguments), _pictures_and_boxes)


def _segmenter(name: str) -> Network:
    arguments = {**_BARE, "aux_loss": True}
    return Network(partial(_make, name, arguments), image(64))


_NETWORKS = {
    "deeplabv3-mobilenet": _segmenter("deeplabv3_mobilenet_v3_large"),
    "deeplabv3-resnet50": _segmenter("deeplabv3_resnet50"),
    "faster-rcnn-mobilenet": _detector("fasterrcnn_mobilenet_v3_large_320_fpn", **_TWO_STEPS),
    "faster-rcnn-resnet50": _detector("fasterrcnn_resnet50_fpn", **_TWO_STEPS),
    "faster-rcnn-resnet50-v2": _detector("fasterrcnn_resnet50_fpn_v2", **_TWO_STEPS),
    "fcn-resnet50": _segmenter("fcn_resnet50"),
    "fcos": _detector("fcos_resnet50_fpn"),
    "keypoint-rcnn": _detector("keypointrcnn_resnet50_fpn", **_TWO_STEPS, num_classes=2),
    "lraspp": Network(
        partial(_make, "lraspp_mobilenet_v3_large", _BARE),
        image(64),
    ),
    "mask-rcnn": _detector("maskrcnn_resnet50_fpn", **_TWO_STEPS),
    "raft-large": Network(partial(_make, "raft_large", {}), _two_frames),
    "raft-small": Network(partial(_make, "raft_small", {}), _two_frames),
    "retinanet": _detector("retinanet_resnet50_fpn"),
    "ssdlite": Network(partial(_make, "ssdlite320_mobilenet_v3_large", _BARE), _pictures_and_boxes),
}

TORCHVISION_TASKS = Catalogue("torchvision-tasks", "torchvision", "torchvision", _NETWORKS)
