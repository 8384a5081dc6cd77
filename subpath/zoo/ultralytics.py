"""Networks of ultralytics, as deep as its large ones and a fraction as wide."""

from __future__ import annotations

from functools import partial

from torch import nn

from .catalogue import Catalogue, Network
from .examples import image

_MOST_CHANNELS = 1024


def _make(task: str, config: str, width: float) -> nn.Module:
    from ultralytics.nn import tasks

    scales = {"n": [1.0, width, _MOST_CHANNELS]}
    described = {**tasks.yaml_model_load(config), "scale": "n", "scales": scales}
    made: nn.Module = getattr(tasks, task)(described, verbose=False)
    return made


def _entry(config: str, task: str = "DetectionModel", width: float = 0.125) -> Network:
    return Network(partial(_make, task, f"{config}.yaml", width), image(64))


_NETWORKS = {
    "rtdetr": _entry("rtdetr-l", "RTDETRDetectionModel"),
    "rtdetr-resnet50": _entry("rtdetr-resnet50", "RTDETRDetectionModel"),
    "yolo11": _entry("yolo11"),
    "yolo11-classifier": _entry("yolo11-cls", "ClassificationModel"),
    "yolo11-obb": _entry("yolo11-obb", "OBBModel"),
    "yolo11-pose": _entry("yolo11-pose", "PoseModel"),
    "yolo11-segmenter": _entry("yolo11-seg", "SegmentationModel"),
    "yolo12": _entry("yolo12", width=0.25),
    "yolo26": _entry("yolo26"),
    "yolov10": _entry("yolov10n"),
    "yolov3": _entry("yolov3"),
    "yolov5": _entry("yolov5"),
    "yolov6": _entry("yolov6"),
    "yolov8": _entry("yolov8"),
    "yolov8-classifier": _entry("yolov8-cls", "ClassificationModel"),
    "yolov8-ghost": _entry("yolov8-ghost"),
    "yolov8-obb": _entry("yolov8-obb", "OBBModel"),
    "yolov8-pose": _entry("yolov8-pose", "PoseModel"),
    "yolov8-segmenter": _entry("yolov8-seg", "SegmentationModel"),
    "yolov9": _entry("yolov9t"),
}

ULTRALYTICS = Catalogue("ultralytics", "ultralytics", "ultralytics", _NETWORKS)
