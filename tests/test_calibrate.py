"""Calibration against torch's own on a network cut by hand, and what it must leave alone."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

import subpath
from subpath.errors import SkipConfigError, SubpathError


def with_other_statistics(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def loader(count=3):
    return [(torch.randn(5, 3, 32, 32), torch.zeros(5)) for _ in range(count)]


def test_it_is_update_bn_on_the_network_cut_by_hand():
    original = with_other_statistics(timm.create_model("resnet18", channels=[8, 8, 8, 8]))
    model = subpath.convert(original, torch.zeros(2, 3, 32, 32))
    by_hand = copy.deepcopy(original)
    by_hand.layer1[1] = nn.Identity()
    by_hand.layer3[1] = nn.Identity()
    data = loader()
    update_bn(data, by_hand)
    subnet = subpath.calibrate(model, data, "TFTF")
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(subnet(x), by_hand.eval()(x), rtol=1e-4, atol=1e-5)
    expected = dict(by_hand.named_buffers())
    for name, value in subnet.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(subnet(x), model(x, skip="TFTF"))


@pytest.mark.parametrize("name", ["mobilenetv2_035", "evonorm"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was_and_shares_its_weights(name, training):
    if name == "evonorm":
        from timm.layers import EvoNorm2dB0

        norms = {"act_layer": nn.Identity, "norm_layer": EvoNorm2dB0}
        made = timm.create_model("resnet18", channels=[8, 8, 8, 8], **norms)
    else:
        made = timm.create_model(name, drop_rate=0.5)
    model = subpath.convert(with_other_statistics(made), torch.zeros(2, 3, 32, 32))
    model.train(training)
    norm = next(m for m in model.modules() if hasattr(m, "running_var"))
    norm.eval()  # as if it were frozen
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    skip = "T" + "F" * (len(model.stages) - 1)
    subnet = subpath.calibrate(model, loader(), skip, batches=2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    mine = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in subnet.parameters()} <= mine
    assert not any(module.training for module in subnet.modules())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(subnet(x), subnet(x))  # no dropout
    own = {id(buffer) for buffer in model.buffers()}
    changed = [n for n, b in subnet.named_buffers() if "running" in n and id(b) not in own]
    assert changed


def test_networks_without_running_statistics_come_out_the_same():
    vit = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
    model = subpath.convert(timm.create_model("vit_tiny_patch16_224", **vit).eval())
    x = torch.randn(2, 3, 32, 32)
    subnet = subpath.calibrate(model, loader(), "TF")
    assert torch.equal(subnet(x), model(x, skip="TF"))


def test_what_cannot_be_calibrated():
    model = subpath.convert(
        timm.create_model("resnet18", channels=[8, 8, 8, 8]), torch.zeros(2, 3, 32, 32)
    )
    with pytest.raises(SubpathError, match="no batch"):
        subpath.calibrate(model, [], "TTTT")
    with pytest.raises(SkipConfigError):
        subpath.calibrate(model, loader(), "TT")
