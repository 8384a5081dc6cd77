"""Object detection: COCO's files, the two passes at each anchor, mean average precision by hand."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models import get_model
from torchvision.models.detection.rpn import concat_box_prediction_layers

import subpath
from subpath.distill import feature_loss
from subpath.errors import DataError, RecipeError
from subpath.finetune import check_recipe, diagnose, evaluate, finetune
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.detectors import retinanet
from subpath.finetune.engine import distillation_learner
from subpath.finetune.loader import Place
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection
from subpath.finetune.seeds import set_seeds
from subpath.finetune.tasks.anchors import Anchors, at_anchors
from subpath.finetune.tasks.boxes import Pictures
from subpath.finetune.tasks.detection import ObjectDetection
from subpath.finetune.weight_updates import make_updater

EDGE = 48
SMALL = {
    "backbone": "resnet18",
    "backbone_arguments": {"channels": [8, 8, 8, 8]},
    "levels": [2, 3],
    "out_channels": 16,
    "anchor": 2.0,
    "min_size": EDGE,
    "max_size": EDGE,
    "detections_per_img": 5,
    "score_thresh": 0.02,
}
COLOURS = {1: (220, 40, 40), 3: (40, 220, 40)}  # by category; the second has no objects


def write(folder, count, seed) -> None:
    """Squares of two colours on a dark ground; one image is empty, one has a crowd."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        pixels = np.full((EDGE, EDGE, 3), 30, np.uint8)
        for label in COLOURS if number else ():
            left, top = (int(n) for n in random.integers(0, EDGE - 16, 2))
            pixels[top : top + 16, left : left + 16] = COLOURS[label]
            crowd = int(number == 1 and label == 3)
            box = {"bbox": [left, top, 16, 16], "area": 256, "iscrowd": crowd}
            place = {"id": len(annotations) + 1, "image_id": 10 + number, "category_id": label}
            annotations.append({**place, **box})
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        size = {"width": EDGE, "height": EDGE}
        images.append({"id": 10 + number, "file_name": f"{number}.png", **size})
    categories = [{"id": n, "name": name} for n, name in ((1, "red"), (2, "none"), (3, "green"))]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))


@pytest.fixture
def scenes(tmp_path):
    write(tmp_path / "scenes" / "train", 17, seed=0)
    write(tmp_path / "scenes" / "validation", 7, seed=1)
    return tmp_path / "scenes"


@pytest.fixture
def recipe(scenes) -> dict:
    return {
        "task": "object_detection",
        "name": "squares",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "subpath.finetune.detectors:retinanet", "arguments": SMALL},
        "data": {"root": str(scenes), "example_size": [EDGE, EDGE]},
        "finetune": {
            "epochs": 6,
            "batch_size": 2,
            "optimiser": {"name": "adamw", "lr": 0.005},
        },
    }


KEYS = ("boxes", "labels", "scores")


def detector():
    return retinanet(4, **SMALL)


def coco(model, folder, **how):
    """Precision as pycocotools reads it from the file itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(folder / "instances.json"))
        told = []
        for number, entry in known.imgs.items():
            pixels = np.asarray(Image.open(folder / "images" / entry["file_name"])) / 255
            image = torch.tensor(pixels.transpose(2, 0, 1)).float()
            with torch.no_grad():
                (found,) = model.eval()([image], **how)
            for box, label, score in zip(*(found[key].tolist() for key in KEYS), strict=True):
                left, top, right, bottom = box
                corner = {"image_id": number, "bbox": [left, top, right - left, bottom - top]}
                told.append({**corner, "category_id": label, "score": score})
        counted = COCOeval(known, known.loadRes(told), "bbox")
        counted.evaluate()
        counted.accumulate()
        counted.summarize()
    return {"map": 100 * counted.stats[0], "map50": 100 * counted.stats[1]}


def test_a_run_tells_the_precision_of_every_config(recipe, scenes, tmp_path):
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    example = {"images": [torch.zeros(3, EDGE, EDGE)] * 2}
    model = subpath.load(tmp_path / "run", model=detector().eval(), example_input=example)
    for config in summary.configs:
        expected = coco(model, scenes / "validation", skip=config.skip)
        assert config.metrics == pytest.approx(expected, abs=1e-3)
    assert summary.configs[0].metrics["map50"] > 20
    assert evaluate(tmp_path / "run", ["TTT"], model=detector()).configs == summary.configs[-1:]
    got = evaluate(tmp_path / "run", ["FFT"], calibrate_batches=2, model=detector())
    assert got.configs[0].metrics != summary.configs[1].metrics


def learner(made, network, **distill):
    """The task for a network, the network converted, and a step of the engine."""
    task = ObjectDetection.open(made).fitted(network)
    model = subpath.convert(network, task.example(2)).train()
    processes = start_processes("cpu")
    updates = make_updater(model, made.finetune, 1, processes)
    student = ConfigRunner(model, processes, read=task.read, heard=task.heard)
    section = DistillSection(weight=1.0, **distill)
    criterion = task.criterion(made.finetune)
    learn = distillation_learner(student, updates, criterion, section, outputs=task.outputs)
    return task, model, learn


def said_at_anchors(model, inputs, skip):
    """The losses, what the head says, and the stage outputs."""
    kept = []
    handle = model.get_submodule("head").register_forward_hook(lambda m, i, o: kept.append(o))
    losses, features = model.forward_features_of_stages(**inputs, skip=skip)
    handle.remove()
    return sum(losses.values()), kept[0]["cls_logits"], kept[0]["bbox_regression"], features


def test_the_gradients_are_those_of_the_step_by_hand(recipe):
    made = check_recipe(recipe)
    torch.manual_seed(0)
    network = detector()
    torch.nn.init.normal_(network.head.classification_head.cls_logits.weight, std=0.5)
    for block in network.backbone.body.modules():
        if hasattr(block, "bn2"):
            torch.nn.init.ones_(block.bn2.weight)  # timm begins with branches of zeros
    task, model, learn = learner(made, network, base_task=0.5, temperature=2.0)
    by_hand = copy.deepcopy(model)
    inputs, targets = next(task.training_batches(4, (0,), Place()).epoch(0))
    losses = learn(inputs, targets, 1.0, 0)

    loss, scores, boxes, features = said_at_anchors(by_hand, inputs, "FFF")
    (0.5 * loss).backward()
    own, base_scores, base_boxes, base_features = said_at_anchors(by_hand, inputs, "TTT")
    scores, boxes = scores.detach(), boxes.detach()
    weights = scores.sigmoid().amax(-1)
    far = (boxes - base_boxes).abs().sum(-1)
    for number in range(4):
        p, q = (s[..., number].div(2).sigmoid() for s in (scores, base_scores))
        far = far + 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
    dims = [stage.channel_dim for stage in by_hand.stages]
    known = [h.detach() for h in features]
    learned = (weights * far).sum() / weights.sum()
    learned = learned + feature_loss(base_features, known, dims, 2.0) + 0.5 * own
    (0.5 * learned).backward()

    torch.testing.assert_close(losses["loss"], (0.5 * (loss + learned)).detach())
    assert losses["logits"] > 1e-3
    for (name, weight), other in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        close = 1e-7 + 1e-5 * other.grad.abs().max().item()
        torch.testing.assert_close(weight.grad, other.grad, rtol=0, atol=close, msg=name)


def test_background_weighs_little_and_exclusive_classes_are_a_softmax():
    known = torch.tensor([[[3.0, -1.0, 0, 0, 0, 0], [-2.0, 4.0, 0, 0, 0, 0]]])
    base = torch.tensor([[[1.0, 0.0, 1, 0, 0, 0], [0.0, 1.0, 0, 2, 0, 0]]])
    expected, weights = 0.0, []
    for anchor in range(2):
        p, q = known[0, anchor, :2].softmax(0), base[0, anchor, :2].softmax(0)
        weights.append(p[1])  # class 0 is the background
        expected += p[1] * ((p * (p / q).log()).sum() + (1 + anchor))
    found = Anchors(exclusive=True)(base, known, None, 1.0)
    torch.testing.assert_close(found, expected / sum(weights))
    assert Anchors()(known, known, None, 1.0).item() == pytest.approx(0, abs=1e-6)
    sure = torch.full((1, 3, 5), -200.0)
    assert math.isfinite(Anchors()(sure, sure, None, 1.0))


def test_a_proposal_network_s_scores_and_boxes_are_put_together_as_torchvision_does():
    torch.manual_seed(0)
    objects = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 3)]
    boxes = [torch.randn(2, 12, 4, 5), torch.randn(2, 12, 2, 3)]
    flat_objects, flat_boxes = concat_box_prediction_layers(objects, boxes)
    found = at_anchors((objects, boxes))
    assert found.shape == (2, 3 * (20 + 6), 5)
    pairs = torch.cat([flat_objects, flat_boxes], 1)
    rows = {tuple(row) for row in found.flatten(0, 1).tolist()}
    assert rows == {tuple(row) for row in pairs.tolist()}  # each score beside its own box


@pytest.mark.parametrize(
    ("name", "head", "arguments"),
    [
        (
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            "rpn.head",
            {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_train": 20},
        ),
        ("ssdlite320_mobilenet_v3_large", "head", {}),
    ],
)
def test_the_dense_heads_of_torchvision_are_heard(recipe, name, head, arguments):
    made = check_recipe(recipe)
    network = get_model(name, weights=None, weights_backbone=None, num_classes=4, **arguments)
    task, model, learn = learner(made, network)
    assert (task.head, task.exclusive) == (head, name.startswith("ssd"))
    inputs, targets = next(task.training_batches(4, (0,), Place()).epoch(0))
    losses = learn(inputs, targets, 1.0, 0)
    assert losses["task"] > 0
    assert losses["logits"] > 0
    assert all(weight.grad is not None for weight in model.get_submodule(head).parameters())


def test_image_and_boxes_are_flipped_together(recipe):
    section = check_recipe({**recipe, "data": {**recipe["data"], "hflip": 1.0}}).data
    train = Pictures(section, section.train_images, section.train_annotations, training=True)
    set_seeds(0)
    for index in range(len(train)):
        (image, found), (plain, as_they_are) = train[index], train.unaugmented()[index]
        assert torch.equal(image, plain.flip(-1))
        left, top, right, bottom = as_they_are["boxes"].unbind(1)
        expected = torch.stack([EDGE - right, top, EDGE - left, bottom], 1)
        torch.testing.assert_close(found["boxes"], expected)
    first, second = train[0][1], train[1][1]
    assert first["boxes"].shape == (0, 4)
    assert second["labels"].tolist() == [1]  # the crowd teaches nothing


def test_what_is_wrong_with_boxes_is_told(recipe, scenes, tmp_path):
    def opened(**data):
        return ObjectDetection.open(check_recipe({**recipe, "data": {**recipe["data"], **data}}))

    with pytest.raises(DataError, match=r"cocodataset\.org; nothing is downloaded"):
        opened(train_annotations="annotations/instances_train2017.json")
    with pytest.raises(DataError, match=r"got no image 0\.png in .*train2017"):
        opened(train_images="train2017")
    with pytest.raises(RecipeError, match=r"got distill\.teacher for object detection"):
        ObjectDetection.open(check_recipe({**recipe, "distill": {"teacher": {"name": "resnet18"}}}))
    with pytest.raises(DataError, match="in eval mode"):
        diagnose(check_recipe(recipe), samples=8)
    with pytest.raises(DataError, match="expected one of torchvision's detectors"):
        opened().read(torch.zeros(2, 3))
    path = scenes / "validation" / "instances.json"
    document = json.loads(path.read_text())

    def changed(**parts):
        path.write_text(json.dumps({**document, **parts}))
        return opened()

    with pytest.raises(DataError, match="expected the same"):
        changed(categories=[*document["categories"], {"id": 4, "name": "blue"}])
    with pytest.raises(DataError, match="expected numbers from 1 on"):
        changed(categories=[*document["categories"], {"id": 0, "name": "ground"}])
    with pytest.raises(DataError, match=r"category 3, which has no name\); expected images"):
        changed(categories=document["categories"][:2])
    path.write_text("{}")
    with pytest.raises(DataError, match=r"KeyError: 'images'"):
        opened()
    path.write_text("[")
    with pytest.raises(DataError, match="is not JSON"):
        opened()
