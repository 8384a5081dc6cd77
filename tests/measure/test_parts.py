"""Where the multiply-adds are, against counts of the parts themselves and of blocks taken out."""

from __future__ import annotations

import pytest
import timm
import torch

import subpath
from subpath.measure import count, count_macs, parts_of
from toys import TOYS


@pytest.mark.parametrize(
    "name", ["post-activation", "pre-activation", "layout stays", "normed shortcut"]
)
def test_stages_of_toys_equal_the_blocks_taken_out_by_hand(name: str) -> None:
    toy = TOYS[name]
    original, image = toy.build(), toy.input()
    model = subpath.convert(original, image)
    found = parts_of(model, image)
    whole = count(original, (image[:1],)).macs
    assert found.macs == sum(p.mandatory + p.skippable for p in found.parts) == whole
    stages = [part for part in found.parts if part.stage is not None]
    assert [part.name for part in stages] == [stage.name for stage in model.stages]
    for part, stage in zip(stages, model.stages, strict=True):
        without = count(toy.by_hand(original, stage.skippable), (image[:1],)).macs
        assert part.skippable == whole - without
        assert part.mandatory >= 0


def test_what_lies_around_the_stages_has_the_names_of_its_modules() -> None:
    network = timm.create_model("resnet18", channels=(8, 16, 16, 24), num_classes=5).eval()
    found = parts_of(subpath.convert(network, torch.zeros(2, 3, 32, 32)))
    names = ["conv1, bn1", "layer1", "layer2", "layer3", "layer4", "global_pool, fc"]
    assert [part.name for part in found.parts] == names
    stem, head = found.parts[0], found.parts[-1]
    assert stem.mandatory == 16 * 16 * (64 * 3 * 49 + 2 * 64)  # a norm counts 2 for each element
    assert head.mandatory == 24 * 5 + 24 * 1  # the classifier, and pooling of one pixel
    assert stem.stage is head.stage is None
    first, norm, convolution = found.parts[1], 2 * 8, 8 * 8 * 9
    assert first.skippable == 8 * 8 * (2 * convolution + 2 * norm)
    narrowing = 8 * 64 * 9 + convolution + 8 * 64 + 3 * norm  # two convolutions and a projection
    assert first.mandatory == 8 * 8 * narrowing
    assert found.share(first.mandatory) == 8 * 8 * narrowing / found.macs


def test_patch_merging_lies_between_stages() -> None:
    network = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        depths=(2, 2),
        embed_dim=12,
        num_heads=(1, 2),
    ).eval()
    model = subpath.convert(network)
    found = parts_of(model)
    assert [part.name for part in found.parts] == [
        "patch_embed",
        "layers.0.blocks",
        "layers.1.downsample",
        "layers.1.blocks",
        "norm, head",
    ]
    merging = count(network.layers[1].downsample, (torch.zeros(1, 8, 8, 12),)).macs
    assert found.parts[2].mandatory == merging
    base = count_macs(model, skips=["TT"]).configs[0].macs
    assert sum(part.mandatory for part in found.parts) == base
