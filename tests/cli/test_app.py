"""The commands as a user types them: results on stdout, errors on stderr, status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import subpath
from commands import Command
from subpath.checkpoint import Architecture


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory whose network talks while it is made."""
    (tmp_path / "own_network_for_test.py").write_text(
        "from torch import nn\n"
        "class Block(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        return x + self.conv(self.norm(x))\n"
        "def network(depth=2):\n"
        "    print('made')\n"
        "    blocks = (Block() for _ in range(depth))\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.Sequential(*blocks))\n"
        "def nothing():\n"
        "    return None\n"
        "def broken():\n"
        "    raise ValueError('no luck')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_network_for_test"
    sys.modules.pop("own_network_for_test", None)


def test_help_loads_neither_torch_nor_timm() -> None:
    program = (
        "import sys; from subpath.cli.app import main\n"
        "sys.argv = ['subpath', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    heavy = {'torch', 'timm', 'fvcore', 'networkx'} & set(sys.modules)\n"
        "    sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    for words in (["--help"], ["inspect", "--help"], ["report", "-h"], ["finetune", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Usage: subpath" in done.stdout


def test_inspect_json_of_a_timm_network(command: Command) -> None:
    status, out, _ = command("inspect", "resnet18", "--input-size", "3,64,64", "--json")
    assert status == 0
    document = json.loads(out)
    assert document["model"] == "resnet18"
    assert document["input_size"] == [3, 64, 64]
    assert [stage["name"] for stage in document["stages"]] == [f"layer{i}" for i in range(1, 5)]
    for number, stage in enumerate(document["stages"]):
        path = f"layer{number + 1}"
        assert stage["blocks"] == [f"{path}.0", f"{path}.1"]
        assert stage["mandatory"] == [f"{path}.0"]
        assert stage["skippable"] == [f"{path}.1"]
        assert stage["output_shape"] == [64 * 2**number, 16 // 2**number, 16 // 2**number]
    assert document["twin_norms"] == sum(len(stage["twin_norms"]) for stage in document["stages"])


def test_inspect_for_people(command: Command) -> None:
    status, out, err = command("inspect", "resnet18", "--input-size", "3,64,64")
    assert (status, err) == (0, "")
    assert "layer3  2 blocks, output 256x4x4" in out


def test_ways_to_cut(command: Command) -> None:
    size = "--arg", "img_size=32", "--input-size", "3,32,32", "--json"
    _, out, _ = command("inspect", "vit_tiny_patch16_224", *size, "--groups", 2)
    assert [len(stage["blocks"]) for stage in json.loads(out)["stages"]] == [6, 6]
    _, out, _ = command("inspect", "vit_tiny_patch16_224", *size, "--skippable", "2,1,0,1")
    assert [len(stage["skippable"]) for stage in json.loads(out)["stages"]] == [2, 1, 1]
    small = "--input-size", "3,64,64", "--json"
    _, out, _ = command(
        "inspect", "resnet18", *small, "--blocks", "layer2.1,layer4.1", "--twin-norms", "none"
    )
    document = json.loads(out)
    assert [stage["skippable"] for stage in document["stages"]] == [["layer2.1"], ["layer4.1"]]
    assert document["twin_norms"] == 0


def test_a_network_of_ones_own_may_print(command: Command, own_network: str) -> None:
    size = "--input-size", "1,8,8", "--json"
    status, out, err = command("inspect", f"{own_network}:network", *size, "--arg", "depth=4")
    assert status == 0
    assert [stage["blocks"] for stage in json.loads(out)["stages"]] == [
        ["1.0", "1.1"],
        ["1.2", "1.3"],
    ]
    assert "made" in err
    status, out, _ = command("report", f"{own_network}:network", *size)
    assert status == 0
    configs = {entry["skip"]: entry for entry in json.loads(out)["configs"]}
    stem, block = 64 * 4, 64 * (4 * 4 * 9 + 2 * 4)
    assert configs["F"]["gmacs"] == (stem + 2 * block) / 1e9
    assert configs["T"]["gmacs"] == (stem + block) / 1e9
    assert configs["T"]["macs_ratio"] == (stem + block) / (stem + 2 * block)
    assert configs["F"]["params_m"] == (8 + 2 * (8 + 148)) / 1e6
    assert configs["T"]["params_m"] == (8 + 8 + 148) / 1e6


@pytest.fixture
def two_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory with a network of an image and its mask."""
    (tmp_path / "two_inputs_for_test.py").write_text(
        "from torch import nn\n"
        "class Masked(nn.Module):\n"
        "    def __init__(self, depth=2):\n"
        "        super().__init__()\n"
        "        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(depth))\n"
        "    def forward(self, image, mask):\n"
        "        x = image * mask\n"
        "        for conv in self.convs:\n"
        "            x = x + conv(x)\n"
        "        return x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "two_inputs_for_test:Masked"
    sys.modules.pop("two_inputs_for_test", None)


def test_inputs_in_words(command: Command, two_inputs: str) -> None:
    inputs = "--input", "[[2, 3, 8, 8], [2, 1, 8, 8]]"
    words = (*inputs, "--model-args", '{"depth": 4}', "--groups", 1)
    status, out, err = command("inspect", two_inputs, *words)
    assert (status, err) == (0, "")
    assert "\nimage 2x3x8x8, mask 2x1x8x8\n1 stage, 2 skip configs" in out
    assert "4 blocks" in out
    for name in ("inspect", "draw", "report"):
        document = json.loads(command(name, two_inputs, *words, "--json").out)
        assert document["inputs"] == {"image": [2, 3, 8, 8], "mask": [2, 1, 8, 8]}
        assert "input_size" not in document
    macs = {entry["skip"]: entry["gmacs"] for entry in document["configs"]}
    assert macs == {"F": 4 * 9 * 64 / 1e9, "T": 2 * 9 * 64 / 1e9}


def test_latency_of_several_inputs(command: Command, two_inputs: str) -> None:
    words = "--input", "[[2, 3, 8, 8], [2, 1, 8, 8]]", "--latency", "--rounds", 6, "--batch", 3
    status, out, _ = command("report", two_inputs, *words, "--json")
    assert status == 0
    (table,) = json.loads(out)["latency"]
    assert table["conditions"]["batch"] == 3


def test_the_package_is_a_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "subpath", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: subpath" in done.stdout


def test_report_for_people(command: Command) -> None:
    status, out, err = command("report", "resnet18", "--input-size", "3,64,64")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "FFFF super-net" in out
    assert "TTTT base-net" in out
    assert "top-1" not in out


def test_many_stages_are_listed_in_full_on_request(command: Command, own_network: str) -> None:
    stages = 6
    text = Path(f"{own_network}.py").read_text()
    Path(f"{own_network}.py").write_text(
        f"{text}\n"
        "class Tall(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.parts = nn.ModuleList()\n"
        f"        for _ in range({stages}):\n"
        "            self.parts.append(nn.Sequential(Block(), Block()))\n"
        f"        self.downs = nn.ModuleList(nn.AvgPool2d(2) for _ in range({stages}))\n"
        "    def forward(self, x):\n"
        "        for part, down in zip(self.parts, self.downs):\n"
        "            x = down(part(x))\n"
        "        return x\n"
    )
    words = "report", f"{own_network}:Tall", "--input-size", "4,64,64", "--json"
    listed = [entry["skip"] for entry in json.loads(command(*words).out)["configs"]]
    assert len(listed) == 2 * stages
    assert {"FFFFFF", "FFTFFF", "TTTFFF", "TTTTTT"} <= set(listed)
    every = json.loads(command(*words, "--all").out)["configs"]
    assert len({entry["skip"] for entry in every}) == 2**stages


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A finetuned resnet18 for ten classes, cut in an unusual way."""
    model = subpath.convert(
        timm.create_model("resnet18", num_classes=10),
        torch.zeros(2, 3, 64, 64),
        groups=None,
        blocks=["layer1.1", "layer3.1"],
    )
    folder = tmp_path / "run"
    made = Architecture("resnet18", {"num_classes": 10})
    subpath.save(model, folder, made, (3, 64, 64))
    summary = {"skip": {"FF": {"top1": 91.5, "gmacs": 0}, "TT": {"top1": 90.25, "gmacs": 0}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_run_brings_its_cut_its_size_and_its_accuracy(
    command: Command, run_directory: Path
) -> None:
    status, out, _ = command("report", "resnet18", "--weights", run_directory, "--json")
    assert status == 0
    document: dict[str, Any] = json.loads(out)
    assert document["input_size"] == [3, 64, 64]
    assert document["stages"] == ["layer1", "layer3"]
    assert [entry.get("top1") for entry in document["configs"]] == [91.5, None, None, 90.25]
    whole = sum(p.numel() for p in timm.create_model("resnet18", num_classes=10).parameters())
    assert document["configs"][0]["params_m"] == whole / 1e6


def test_a_file_of_a_run_stands_for_the_run(command: Command, run_directory: Path) -> None:
    (path,) = run_directory.glob("*.safetensors")
    status, out, _ = command("report", "resnet18", "--weights", path, "--json")
    assert status == 0
    assert json.loads(out)["configs"][-1]["top1"] == 90.25


def test_a_run_that_does_not_fit_the_words(command: Command, run_directory: Path) -> None:
    other = command("report", "resnet34", "--weights", run_directory)
    assert other.status == 2
    assert "'resnet34'" in other.err
    assert "'resnet18'" in other.err
    both = command("report", "resnet18", "--weights", run_directory, "--skippable", 1)
    assert both.status == 2
    assert "directory alone" in both.err
    (run_directory / "summary.json").write_text('{"skip": 3}')
    damaged = command("report", "resnet18", "--weights", run_directory)
    assert damaged.status == 2
    assert "summary.json" in damaged.err


def test_a_file_of_weights_must_fit(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pt"
    torch.save(timm.create_model("resnet18").state_dict(), path)
    size = "--input-size", "3,64,64", "--json"
    status, out, _ = command("report", "resnet18", "--weights", path, *size)
    assert status == 0
    assert len(json.loads(out)["configs"]) == 16
    wrong = command("report", "resnet34", "--weights", path, *size)
    assert (wrong.status, wrong.out) == (2, "")
    assert "layer1.2" in wrong.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "resnet999"], "'resnet999'"),
        (["inspect", "vgg11", "--input-size", "3,64,64"], "one path without branches"),
        (["inspect", "no_such_module:f"], "no_such_module"),
        (["inspect", "torchvision.models:no_such_model"], "no_such_model"),
        (["inspect", "torchvision.models:resnet18"], "--input-size"),
        (["inspect", "torchvision.models:resnet18", "--arg", "depth=3"], "depth"),
        (["inspect", "resnet18", "--input-size", "3;64"], "3,224,224"),
        (["inspect", "resnet18", "--input-size", "4,64,64"], "[2, 4, 64, 64]"),
        (["inspect", "resnet18", "--input-size", "3,64,64", "--groups", "3"], "groups=3"),
        (["inspect", "resnet18", "--skippable", "1,x"], "'x'"),
        (["inspect", "resnet18", "--arg", "novalue"], "KEY=VALUE"),
        (["inspect", "resnet18", "--model-args", "{"], "--model-args"),
        (["inspect", "resnet18", "--input", '{"pixels": [2, 3, 8, 8]}'], "expected names among x"),
        (["inspect", "resnet18", "--input", "[2, 3, 8"], "no JSON"),
        (["inspect", "resnet18", "--twin-norms", "some"], "'some'"),
        (["report", "resnet18", "--weights", "nowhere/at/all"], "nowhere/at/all"),
        (["report", "own_network_for_test:nothing", "--input-size", "1,8,8"], "NoneType"),
        (["report", "own_network_for_test:broken", "--input-size", "1,8,8"], "no luck"),
        (["inspect"], "MODEL"),
        (["inspect", "resnet18", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_errors_of_the_user(
    words: list[str], said: str, command: Command, own_network: str
) -> None:
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert err.count("error: ") <= 1
