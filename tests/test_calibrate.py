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


IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def small():
    torch.manual_seed(0)
    original = with_other_statistics(timm.create_model("resnet18", channels=[8, 8, 8, 8]))
    return original, subpath.convert(original, torch.zeros(2, 3, 32, 32))


def outputs(model):
    with torch.no_grad():
        return {skip: model(IMAGES, skip=skip) for skip in model.skip_configs()}


def test_kept_statistics_serve_their_config_alone():
    original, model = small()
    before, keys = outputs(model), model.state_dict().keys()
    parameters = {id(p) for p in model.parameters()}
    names = [name for name, _ in model.named_parameters()]
    assert model.calibrated == ()
    subnet = subpath.calibrate(model, loader(), "TFFT", keep=True)
    assert model.calibrated == ("TFFT",)
    assert "statistics of their own: TFFT" in repr(model)
    after = outputs(model)
    assert torch.equal(after.pop("TFFT"), subnet(IMAGES))
    assert not torch.equal(before.pop("TFFT"), subnet(IMAGES))
    assert all(torch.equal(after[skip], before[skip]) for skip in after)
    assert torch.equal(model(IMAGES), original(IMAGES))
    assert torch.equal(model.subnet("TFFT")(IMAGES), subnet(IMAGES))
    assert {id(p) for p in model.parameters()} == parameters
    assert [name for name, _ in model.named_parameters()] == names
    new = model.state_dict().keys() - keys
    assert keys < model.state_dict().keys()
    ran = {n for n, b in subnet.named_buffers()}
    assert new == {f"calibrated.TFFT.{name}" for name in ran}
    assert "calibrated.TFFT.layer1.0.bn1.running_mean" in new


def test_train_mode_does_not_know_them_and_weights_stay_shared():
    _, model = small()
    plain = copy.deepcopy(model)
    subpath.calibrate(model, loader(), "TFFT", keep=True)
    own = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("calibrated.")}
    for each in (model, plain):
        each.train()
        each(IMAGES, skip="TFFT").square().sum().backward()
        torch.optim.SGD(each.parameters(), lr=1e-4).step()
        each.eval()
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    assert all(torch.equal(state[key], value) for key, value in own.items())
    # In eval mode the trained weights run, with these statistics.
    by_hand = plain.subnet("TFFT", copy_weights=True)
    prefix = "calibrated.TFFT."
    by_hand.load_state_dict({k.removeprefix(prefix): v for k, v in own.items()}, strict=False)
    assert torch.equal(model(IMAGES, skip="TFFT"), by_hand(IMAGES))


@pytest.mark.parametrize("assign", [True, False])
def test_they_are_copied_moved_saved_and_loaded(tmp_path, assign):
    original, model = small()
    subpath.calibrate(model, loader(), "TFFT", keep=True)
    subpath.calibrate(model, loader(), "FTFF", keep=True)
    expected = outputs(model)
    copied = copy.deepcopy(model)
    subpath.save(model, tmp_path)
    loaded = subpath.load(tmp_path, model=copy.deepcopy(original))
    _, fresh = small()
    outputs(fresh)  # its code is made before
    fresh.load_state_dict(copy.deepcopy(model.state_dict()), assign=assign)
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.zero_()
    for again in (copied, loaded, fresh, copied.double().float()):
        assert again.calibrated == ("FTFF", "TFFT")
        got = outputs(again)
        assert all(torch.equal(got[skip], expected[skip]) for skip in expected)
    assert subpath.original_state_dict(loaded).keys() == original.state_dict().keys()
    _, plain = small()
    loaded.load_state_dict(plain.state_dict())
    assert loaded.calibrated == ()
    assert loaded.state_dict().keys() == plain.state_dict().keys()
    got, expected = outputs(loaded), outputs(plain)
    assert all(torch.equal(got[skip], expected[skip]) for skip in expected)


def test_a_failed_calibration_keeps_nothing():
    _, model = small()

    def broken():
        yield IMAGES
        raise OSError("disk")

    before = outputs(model)
    with pytest.raises(OSError, match="disk"):
        subpath.calibrate(model, broken(), "TFFT", keep=True)
    assert model.calibrated == ()
    got = outputs(model)
    assert all(torch.equal(got[skip], before[skip]) for skip in before)
    with pytest.raises(RuntimeError, match="calibrated"):
        model.load_state_dict({**model.state_dict(), "calibrated.TFFT.fc.running_mean": IMAGES})
    assert model.calibrated == ()


def test_norms_inside_modules_called_whole_have_their_own_too():
    """Also where sizes decide: another size is refused and not run with the wrong graph."""
    from toys import TOYS

    toy = TOYS["padded"]
    model = subpath.convert(toy.build(), toy.input())
    data = [toy.input() for _ in range(2)]
    subnet = subpath.calibrate(model, data, "TF", keep=True)
    assert torch.equal(model(data[0], skip="TF"), subnet(data[0]))
    with pytest.raises(AssertionError, match="example_input"):
        subpath.calibrate(model, [torch.randn(2, 3, 16, 16)], "TF")
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(x, skip="TF"), model.subnet("TF", example_input=x)(x))
    net = timm.create_model("mobilenetv2_035", num_classes=3)
    net = subpath.convert(with_other_statistics(net), torch.zeros(2, 3, 32, 32))
    subnet = subpath.calibrate(net, loader(), "TFFFF", keep=True)
    assert torch.equal(net(IMAGES, skip="TFFFF"), subnet(IMAGES))
    own = [k for k in net.state_dict() if k.startswith("calibrated.TFFFF.")]
    assert len(own) == sum(1 for n, _ in subnet.named_buffers())
