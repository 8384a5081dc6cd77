"""Weights of the plain network reach a converted one, and go back."""

from __future__ import annotations

import copy
from argparse import Namespace

import pytest
import timm
import torch
from safetensors.torch import save_file

import subpath
from saved import ARGUMENTS, SIZE, small
from subpath import checkpoint, zoo
from subpath.errors import CheckpointError
from toys import randomise


@pytest.mark.parametrize("form", ["mapping", "safetensors", "pth", "nested"])
def test_weights_of_the_original_reach_the_twins(made, tmp_path, form):
    source = randomise(zoo.create_model("resnet18", **ARGUMENTS), seed=5)
    state = source.state_dict()
    weights = state
    if form == "safetensors":
        weights = tmp_path / "w.safetensors"
        save_file(state, weights)
    elif form in ("pth", "nested"):
        weights = tmp_path / "w.pth"
        torch.save(state if form == "pth" else {"state_dict": state, "epoch": 3}, weights)
    model = copy.deepcopy(made[0])
    checkpoint.load_original(model, weights)
    expected = subpath.convert(source, torch.zeros(2, *SIZE)).state_dict()
    got = model.state_dict()
    assert list(got) == list(expected)
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def test_unfit_weights_of_the_original_change_nothing(made):
    model, _ = made
    before = copy.deepcopy(model.state_dict())
    weights = zoo.create_model("resnet18", **{**ARGUMENTS, "num_classes": 6}).state_dict()
    del weights["bn1.bias"]
    with pytest.raises(CheckpointError, match=r"missing: bn1\.bias.*fc\.weight.*fc\.bias"):
        checkpoint.load_original(model, weights)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_no_error_advises_to_run_what_a_file_holds(made, tmp_path):
    model, _ = made
    torch.save({"args": Namespace(lr=0.1)}, tmp_path / "trained.pth")
    (tmp_path / "text.pth").write_text("import os")
    for name, said in (("trained.pth", "holds argparse.Namespace"), ("text.pth", "no plain")):
        with pytest.raises(CheckpointError, match=said) as error:
            subpath.load_original(model, tmp_path / name)
        assert "weights_only" not in str(error.value)
        assert "\n" not in str(error.value)


def test_pickles_that_hold_more_than_tensors_are_refused(made, tmp_path):
    torch.save({"model": small}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        checkpoint.load_original(made[0], tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not there"):
        checkpoint.load_original(made[0], tmp_path / "nothing.pth")


def unlike_their_originals(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.2 if name.startswith("twin_norms") else 0.1)
    return model


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("resnet18", ARGUMENTS, SIZE),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "depth": 4, "embed_dim": 24, "num_classes": 3},
            (3, 32, 32),
        ),
    ],
)
def test_the_super_net_goes_back_into_a_plain_network(tmp_path, name, arguments, size):
    network = randomise(zoo.create_model(name, **arguments))
    model = unlike_their_originals(subpath.convert(network, torch.zeros(2, *size))).eval()
    state = subpath.original_state_dict(model)
    assert list(state) == list(network.state_dict())
    save_file(state, tmp_path / "plain.safetensors")
    plain = timm.create_model(name, checkpoint_path=tmp_path / "plain.safetensors", **arguments)
    x = torch.randn(3, *size)
    assert torch.equal(plain.eval()(x), model(x))
    assert not torch.equal(plain(x), model(x, skip="T" * len(model.stages)))


def test_weights_by_name_reach_a_network_that_timm_trained(tmp_path, made):
    """A file as timm's training script writes its best weights: extra entries beside them."""
    plain = randomise(zoo.create_model("resnet18", **ARGUMENTS), seed=3).eval()
    torch.save(
        {"epoch": 7, "arch": "resnet18", "state_dict": plain.state_dict()}, tmp_path / "w.bin"
    )
    model = copy.deepcopy(made[0])
    subpath.load_original(model, tmp_path / "w.bin")
    x = torch.randn(2, *SIZE)
    assert torch.equal(model(x), plain(x))
