"""Save and load: the same model comes back, and nothing damaged, foreign or unfit gets in."""

from __future__ import annotations

import copy
import json
import os
import stat
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import subpath
from saved import ARGUMENTS, SIZE, description, put_weights, rewrite, weights_of
from subpath import checkpoint, zoo
from subpath.checkpoint import Architecture
from subpath.choice import Conditions, MeasuredConfig, MeasuredTable
from subpath.errors import CheckpointError
from subpath.skip import SkipConfig
from toys import PostActivation, randomise


class Net(nn.Module):
    """One stage; the weight of the head is also a parameter of its own, and one of a buffer."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.a = nn.Sequential(*(PostActivation(width, width) for _ in range(2)))
        self.head = nn.Linear(width, width)
        self.tied = nn.Linear(width, width)
        self.tied.weight = self.head.weight
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("half_scale", self.scale[:2])

    def forward(self, x):
        return self.tied(self.head(self.a(self.stem(x)).mean((2, 3)))) * self.scale[0]


def test_load_gives_back_the_same_model(saved):
    model, directory = saved
    again = subpath.load(directory)
    assert again.plan == model.plan
    assert not again.training
    before, after = model.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    x = torch.randn(3, *SIZE)
    for skip in ("FFFF", "TTTT", "TFFT"):
        assert torch.equal(model(x, skip=skip), again(x, skip=skip))


def test_the_files_are_plain(saved):
    model, directory = saved
    assert {path.suffix for path in directory.iterdir()} == {".json", ".safetensors"}
    text = description(directory)
    assert text["format_version"] == 1
    assert text["architecture"] == {"name": "resnet18", "arguments": ARGUMENTS}
    assert text["input_size"] == list(SIZE)
    assert text["plan"] == model.plan.to_dict()
    assert text["libraries"]["torch"] == torch.__version__
    tensors = load_file(weights_of(directory))  # another reader than ours
    assert set(tensors) == set(model.state_dict())


TABLE = MeasuredTable(
    (
        MeasuredConfig(SkipConfig("FFFF"), gmacs=2.5, latency_ms=8.0, latency_from="measured"),
        MeasuredConfig(SkipConfig("TTTT"), gmacs=1.5, top1=70.25),
    ),
    Conditions(device="a CPU", threads=1, precision="fp32", batch=1, runtime="torch 2.6"),
)


def test_a_measured_table_is_saved_beside_the_weights(saved):
    model, directory = copy.deepcopy(saved[0]), saved[1]
    text = description(directory)
    assert text.pop("measured") is None  # files of version 0.1.0 do not have it
    (directory / "subpath.json").write_text(json.dumps(text))
    assert subpath.load(directory).measured is None
    model.measured = TABLE
    model.save(directory)
    assert description(directory)["measured"] == TABLE.to_dict()
    assert subpath.load(directory).measured == TABLE
    model.measured = MeasuredTable((MeasuredConfig(SkipConfig("TF"), gmacs=1.0),))
    with pytest.raises(CheckpointError, match=r"configs TF, .*4 letters"):
        model.save(directory)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"conditions": None, "configs": [{"skip": "TF", "gmacs": 1}]}, "configs of 2 letters"),
        ({"conditions": None, "configs": [{"skip": "TFFF", "gmacs": "1"}]}, "gmacs"),
        ([], "measured"),
    ],
)
def test_a_table_of_another_network_or_form_is_refused(saved, table, named):
    rewrite(saved[1], measured=table)
    with pytest.raises(CheckpointError, match=named):
        subpath.load(saved[1])


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("resnet18", {**ARGUMENTS, "drop_path_rate": 0.1}, SIZE),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "depth": 4, "embed_dim": 24, "act_layer": "relu", "num_classes": 0},
            (3, 32, 32),
        ),
    ],
)
def test_timm_s_own_record_makes_the_original_again(tmp_path, name, arguments, size):
    network = randomise(zoo.create_model(name, **arguments))
    model = subpath.convert(network, torch.zeros(2, *size)).eval()
    model.save(tmp_path)
    assert description(tmp_path)["input_size"] == list(size)
    again, x = subpath.load(tmp_path), torch.randn(2, *size)
    for skip in model.skip_configs():
        assert torch.equal(again(x, skip=skip), model(x, skip=skip))
    parts = [(n, type(m), m.extra_repr()) for n, m in network.named_modules()]
    there = dict(again.named_modules())
    assert parts[1:] == [(n, type(there[n]), there[n].extra_repr()) for n, _, _ in parts[1:]]


def test_the_tag_of_weights_is_kept_unless_it_is_the_usual_one(tmp_path):
    for name in ("resnet18", "resnet18.tv_in1k"):
        network = zoo.create_model(name, **ARGUMENTS)
        subpath.convert(network, torch.zeros(2, *SIZE)).save(tmp_path)
        assert description(tmp_path)["architecture"]["name"] == name
        assert subpath.load(tmp_path).pretrained_cfg == network.pretrained_cfg


def test_a_network_that_was_changed_has_no_record(tmp_path):
    for attribute, layer in (("act1", nn.GELU()), ("fc", nn.Linear(8, 7))):
        network = zoo.create_model("resnet18", **ARGUMENTS)
        setattr(network, attribute, layer)
        subpath.convert(network, torch.zeros(2, *SIZE)).save(tmp_path)
        assert description(tmp_path)["architecture"] is None
        with pytest.raises(CheckpointError, match="no architecture"):
            subpath.load(tmp_path)


def test_a_plan_of_ones_own_comes_back(tmp_path):
    network = zoo.create_model("resnet18", **ARGUMENTS)
    model = subpath.convert(
        network, torch.zeros(2, *SIZE), blocks=["layer1.1", "layer3.1"], twin_norms="all"
    )
    subpath.save(model, tmp_path, Architecture("resnet18", ARGUMENTS), SIZE)
    again = subpath.load(tmp_path)
    assert again.plan == model.plan
    assert [stage.skippable for stage in again.stages] == [("layer1.1",), ("layer3.1",)]


def test_half_precision_stays(made, tmp_path):
    model = copy.deepcopy(made[0]).to(torch.bfloat16)
    subpath.save(model, tmp_path, Architecture("resnet18", ARGUMENTS), SIZE)
    again = subpath.load(tmp_path)
    assert again.get_parameter("conv1.weight").dtype == torch.bfloat16
    x = torch.randn(2, *SIZE).bfloat16()
    assert torch.equal(model(x, skip="TTTT"), again(x, skip="TTTT"))


def test_shared_and_overlapping_tensors(tmp_path):
    network = randomise(Net())
    x = torch.randn(2, 3, 8, 8)
    model = subpath.convert(network, x).eval()
    subpath.save(model, tmp_path, input_size=(3, 8, 8))
    assert description(tmp_path)["shared"] == {"tied.weight": "head.weight"}
    assert "tied.weight" not in load_file(weights_of(tmp_path))
    again = subpath.load(tmp_path, Net())
    assert again.get_parameter("tied.weight") is again.get_parameter("head.weight")
    assert torch.equal(again.get_buffer("half_scale"), model.get_buffer("half_scale"))
    assert torch.equal(again(x, skip="T"), model(x, skip="T"))


def test_other_networks_must_be_given(tmp_path):
    model = subpath.convert(Net(), torch.zeros(2, 3, 8, 8))
    for architecture in (None, Architecture("os:getcwd")):
        subpath.save(model, tmp_path, architecture, (3, 8, 8))
        with pytest.raises(CheckpointError, match=r"subpath\.load\(directory, model=network\)"):
            subpath.load(tmp_path)
        subpath.load(tmp_path, Net())


@pytest.mark.parametrize("arguments", [{"pretrained": True}, {"checkpoint_path": "x.pth"}])
def test_arguments_that_read_other_files_are_refused_both_ways(saved, arguments):
    model, directory = saved
    name = next(iter(arguments))
    with pytest.raises(CheckpointError, match=name):
        subpath.save(model, directory, Architecture("resnet18", arguments), SIZE)
    rewrite(directory, architecture={"name": "resnet18", "arguments": {**ARGUMENTS, **arguments}})
    with pytest.raises(CheckpointError, match=name):
        subpath.load(directory)


def test_arguments_that_json_cannot_hold_are_refused(made, tmp_path):
    with pytest.raises(CheckpointError, match="JSON cannot hold"):
        subpath.save(made[0], tmp_path, Architecture("resnet18", {"norm_layer": nn.BatchNorm2d}))
    assert not list(tmp_path.iterdir())


def test_every_key_that_does_not_fit_is_named(saved):
    _, directory = saved
    tensors = load_file(weights_of(directory))
    del tensors["layer1.0.bn1.weight"], tensors["twin_norms.3.layer4.0.bn2.bias"]
    tensors["layer9.weight"] = torch.zeros(3)
    tensors["fc.bias"] = torch.zeros(7)
    tensors["bn1.weight"] = tensors["bn1.weight"].to(torch.int32)
    put_weights(directory, tensors)
    with pytest.raises(CheckpointError) as caught:
        subpath.load(directory)
    message = str(caught.value)
    assert "missing: layer1.0.bn1.weight, twin_norms.3.layer4.0.bn2.bias" in message
    assert "unexpected: layer9.weight" in message
    assert "fc.bias (got float32[7], expected float32[5])" in message
    assert "bn1.weight (got int32[64], expected float32[64])" in message
    assert f"torch {torch.__version__}, timm {version('timm')}; read with the same" in message


def test_a_plan_for_another_network_is_refused_with_all_that_is_not_there(saved):
    _, directory = saved
    text = description(directory)
    plan = text["plan"]
    plan["stages"][1]["skippable"] = ["layer2.7"]
    plan["stages"][1]["blocks"][-1] = "layer2.7"
    before, plan["twin_norms"][0]["path"] = plan["twin_norms"][0]["path"], "layer1.0.bn7"
    plan["opened"].append("layer9")
    rewrite(
        directory, plan=plan, libraries={"subpath": "0.0.1", "torch": "2.6.0", "timm": "1.0.15"}
    )
    with pytest.raises(CheckpointError) as caught:
        subpath.load(directory)
    message = str(caught.value)
    assert "blocks of the plan that are not there: layer2.7" in message
    assert "norms of the plan that are not there: layer1.0.bn7" in message
    assert "modules of the plan that are not there: layer9" in message
    twin = text["plan"]["twin_norms"][0]  # its twin is in the weights and belongs to nothing
    assert f"twin_norms.{twin['stage']}.{before}.weight" in message.partition("unexpected: ")[2]
    assert "Written with subpath 0.0.1, torch 2.6.0, timm 1.0.15; read with subpath" in message


def test_a_block_that_has_no_shortcut_cannot_be_skipped(saved):
    plan = description(saved[1])["plan"]
    plan["stages"][1]["skippable"] = ["layer2.0"]
    rewrite(saved[1], plan=plan)
    with pytest.raises(CheckpointError, match=r"skips layer2\.0.*Written with"):
        subpath.load(saved[1])


def test_weights_of_a_wider_network_are_refused(saved):
    _, directory = saved
    wider = zoo.create_model("resnet18", **{**ARGUMENTS, "channels": [8, 8, 8, 8]})
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv1\.weight"):
        subpath.load(directory, wider)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_weights_file_is_refused(saved, part):
    _, directory = saved
    path = weights_of(directory)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CheckpointError, match="damaged"):
        subpath.load(directory)


def test_one_changed_byte_is_noticed(saved):
    _, directory = saved
    content = bytearray(weights_of(directory).read_bytes())
    content[-5] ^= 1
    weights_of(directory).write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        subpath.load(directory)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"format_version": 1}', '{"format_version": 99}', "\x00\xff"],
)
def test_a_foreign_description_is_refused(saved, text):
    _, directory = saved
    (directory / "subpath.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"subpath\.json"):
        subpath.load(directory)


@pytest.mark.parametrize("key", ["plan", "weights", "architecture", "shared", "sha256"])
@pytest.mark.parametrize("value", [3, "text", [1, 2], {"a": {"b": 1}}])
def test_a_wrong_value_anywhere_is_refused(saved, key, value):
    _, directory = saved
    rewrite(directory, **{key: value})
    with pytest.raises(CheckpointError):
        subpath.load(directory)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_file_names_never_lead_outside(saved, name):
    _, directory = saved
    inside = directory / "run"
    inside.mkdir()
    text = description(directory)
    weights_of(directory).rename(directory / "outside.safetensors")
    (inside / "subpath.json").write_text(json.dumps({**text, "weights": name}))
    with pytest.raises(CheckpointError, match="same directory"):
        subpath.load(inside)


def test_a_directory_without_a_checkpoint(tmp_path):
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=r"no subpath\.json"):
            subpath.load(directory)


def test_a_save_that_breaks_off_leaves_the_old_model(saved, monkeypatch):
    model, directory = copy.deepcopy(saved[0]), saved[1]
    old = {key: value.clone() for key, value in model.state_dict().items()}
    replace = Path.replace
    for stop in (1, 2, 3):  # the weights, their name, the description
        calls = iter(range(1, 9))

        def broken(self, target, calls=calls, stop=stop):
            if next(calls) == stop:
                raise OSError(28, "No space left on device")
            return replace(self, target)

        with torch.no_grad():
            model.get_parameter("fc.weight").add_(1)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", broken)
            with pytest.raises(CheckpointError, match="No space left"):
                subpath.save(model, directory, Architecture("resnet18", ARGUMENTS), SIZE)
        again = subpath.load(directory).state_dict()
        assert all(torch.equal(again[key], old[key]) for key in old)
    subpath.save(model, directory, Architecture("resnet18", ARGUMENTS), SIZE)
    assert torch.equal(
        subpath.load(directory).state_dict()["fc.weight"], model.state_dict()["fc.weight"]
    )
    assert len(list(directory.glob("*.safetensors"))) == 1


def test_a_save_outlives_a_power_cut(made, tmp_path, monkeypatch):
    """Each file is on the disk before it gets its name, and the name before the next step."""
    steps = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle):
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def named(self, target):
        steps.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    made[0].save(tmp_path)
    weights = ["file", "name", "directory", "name", "directory"]
    assert steps == [*weights, "file", "name", "directory"]


def test_written_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("x")
    checkpoint.write_atomically(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["ours", "plain"]
