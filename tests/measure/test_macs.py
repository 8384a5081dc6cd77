"""The table of multiply-adds: published figures, and the sum against a count of each config."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

import subpath
from families import NETWORKS, Network
from subpath.errors import MeasureError, SkipConfigError
from subpath.measure import count, count_macs
from toys import TOYS

# Counted on the published networks (shared with the paper's tables), in GMACs at 224 pixels.
RESNET50 = {"FFFF": 4.1115, "TFFF": 3.891, "TTFF": 3.452, "TTTF": 2.795, "TTTT": 2.576}
MOBILENETV2 = {"FFFFF": 0.3142, "TTTTT": 0.2147}
SWIN_T = {"FFFF": 4.491, "TFFF": 4.114, "TTFF": 3.753, "TTTT": 2.340}
VIT_B16 = {
    "FFFF": 17.583,
    "FFFT": 16.127,
    "TFFF": 16.127,
    "TTFF": 14.672,
    "FTFT": 14.672,
    "TTFT": 13.216,
    "TTTT": 11.761,
}
PUBLISHED = [
    ("resnet50", RESNET50),
    ("vit_base_patch16_224", VIT_B16),
    ("mobilenetv2_100", MOBILENETV2),
    ("swin_tiny_patch4_window7_224", SWIN_T),
    pytest.param("tv:resnet50", RESNET50, marks=pytest.mark.slow),
    pytest.param("tv:vit_b_16", VIT_B16, marks=pytest.mark.slow),
    pytest.param("tv:mobilenet_v2", MOBILENETV2, marks=pytest.mark.slow),
    pytest.param("tv:swin_t", SWIN_T, marks=pytest.mark.slow),
]


def weightless(name: str) -> nn.Module:
    with torch.device("meta"):
        if name.startswith("tv:"):
            return torchvision.models.get_model(name[3:]).eval()
        return timm.create_model(name).eval()


@pytest.mark.parametrize(("name", "figures"), PUBLISHED)
def test_published_figures(name: str, figures: dict[str, float]) -> None:
    model = subpath.convert(weightless(name), torch.zeros(2, 3, 224, 224))
    table = count_macs(model)
    got = {skip: table[skip].gmacs for skip in figures}
    assert got == pytest.approx(figures, rel=0.005)
    assert len(table.configs) == 2 ** len(model.stages)


# Of each kind one, made small: plain CNN, pre-activation, window attention, plain transformer.
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnetv2_50": {"layers": (2, 2), "channels": (32, 64), "stem_chs": 8},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "window_size": 4,
        "depths": (2, 2),
        "embed_dim": 12,
        "num_heads": (1, 2),
    },
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 6, "embed_dim": 24, "num_heads": 2},
}


@pytest.mark.parametrize("name", SMALL)
def test_the_sum_of_parts_equals_a_count_of_each_config(name: str) -> None:
    model = subpath.convert(timm.create_model(name, **SMALL[name]), torch.zeros(2, 3, 32, 32))
    _compare(model.eval(), torch.zeros(1, 3, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_sum_of_parts_on_every_family(network: Network) -> None:
    _compare(subpath.convert(network.build(), network.images()), network.images(1))


def _compare(model: subpath.AdaptiveModel, image: torch.Tensor) -> None:
    table = count_macs(model)
    assert len(table.configs) == 2 ** len(model.stages)
    for entry in table.configs:
        subnet = model.subnet(entry.skip)
        assert entry.macs == count(subnet, (image,)).macs
        assert entry.params == sum(parameter.numel() for parameter in subnet.parameters())


@pytest.mark.parametrize("name", TOYS)
def test_toys_equal_a_count_with_the_blocks_taken_out_by_hand(name: str) -> None:
    toy = TOYS[name]
    original, image = toy.build(), toy.input()
    model = subpath.convert(original, image)
    table = count_macs(model, image)
    for entry in table.configs:
        gone = [block for i in entry.skip.skipped for block in model.stages[i].skippable]
        counted = count(toy.by_hand(original, gone), (image[:1],)).by_operator
        if model.plan.run == "in place":  # where matrix products and convolutions alone count
            kinds = ("linear", "conv", "scaled_dot_product_attention")
            counted = {kind: counted.get(kind, 0) for kind in kinds}
        assert entry.macs == sum(counted.values())
    assert table["F" * len(model.stages)].ratio == 1.0
    assert table["T" * len(model.stages)].ratio < 1.0


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_the_original_s_without_the_skipped_blocks(name: str) -> None:
    with torch.device("meta"):
        original = timm.create_model(name, **SMALL[name]).eval()
    model = subpath.convert(original, torch.zeros(2, 3, 32, 32))
    total = sum(p.numel() for p in original.parameters())
    for entry in count_macs(model).configs:
        gone = [block for i in entry.skip.skipped for block in model.stages[i].skippable]
        skipped = sum(p.numel() for b in gone for p in original.get_submodule(b).parameters())
        assert entry.params == total - skipped  # a twin is as large as its original


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc(x)


def test_a_shared_parameter_counts_once_and_as_long_as_one_user_is_left() -> None:
    network = nn.Sequential(*(Residual() for _ in range(4)), nn.Linear(8, 8))
    network[3].fc.weight = network[1].fc.weight
    table = count_macs(subpath.convert(network, torch.zeros(2, 8), groups=2))
    weight, bias = 64, 8
    assert table["FF"].params == 4 * weight + 5 * bias
    assert table["TF"].params == 4 * weight + 4 * bias
    assert table["FT"].params == 4 * weight + 4 * bias
    assert table["TT"].params == 3 * weight + 3 * bias
    assert [table[skip].macs for skip in ("FF", "TF", "FT", "TT")] == [320, 256, 256, 192]


def test_another_size_of_input_and_the_first_sample_alone() -> None:
    model = subpath.convert(TOYS["post-activation"].build(), torch.zeros(2, 3, 8, 8))
    small, large = count_macs(model), count_macs(model, torch.zeros(4, 3, 16, 16))
    assert small.input_shapes == ((1, 3, 8, 8),)
    assert large.input_shapes == ((1, 3, 16, 16),)
    head = 16 * 5  # the classifier does not grow with the picture
    assert large["FF"].macs - head == 4 * (small["FF"].macs - head)


def test_the_model_is_left_as_it_was() -> None:
    model = subpath.convert(TOYS["post-activation"].build().train(), torch.zeros(2, 3, 8, 8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model)
    assert model.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_configs_asked_for_and_wrong_ones() -> None:
    model = subpath.convert(TOYS["post-activation"].build(), torch.zeros(2, 3, 8, 8))
    table = count_macs(model, skips=["FF", "TT"])
    assert [entry.skip for entry in table.configs] == ["FF", "TT"]
    with pytest.raises(MeasureError, match="FF, TT"):
        table["TF"]
    with pytest.raises(SkipConfigError):
        count_macs(model, skips=["TTT"])
    with pytest.raises(FrozenInstanceError):
        table.configs[0].macs = 0  # type: ignore[misc]
