"""``subpath draw`` and ``subpath plot``: what they say and which files they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import subpath
from commands import Command
from subpath.checkpoint import Architecture
from subpath.choice import Conditions, MeasuredConfig, MeasuredTable
from subpath.skip import SkipConfig

pytest.importorskip("matplotlib")

SMALL = ("resnet18", "--arg", "channels=[8,8,8,8]", "--input-size", "3,32,32")


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A fine-tuned network with two stages, whose latency was measured and saved."""
    made: dict[str, Any] = {"channels": [8, 8, 8, 8], "num_classes": 10}
    model = subpath.convert(
        timm.create_model("resnet18", **made),
        torch.zeros(2, 3, 32, 32),
        blocks=["layer1.1", "layer3.1"],
    )
    times = {"FF": 5.0, "TF": 4.0, "FT": 4.5, "TT": 3.5}
    configs = [
        MeasuredConfig(SkipConfig(s), latency_ms=t, latency_from="measured")
        for s, t in times.items()
    ]
    model.measured = MeasuredTable(tuple(configs), Conditions("a CPU", 1, "fp32", 1, "torch"))
    folder = tmp_path / "run"
    subpath.save(model, folder, Architecture("resnet18", made), (3, 32, 32))
    top1 = {"FF": 91.5, "TF": 91.0, "FT": 90.0, "TT": 90.25}
    summary = {"skip": {skip: {"top1": value, "gmacs": 0} for skip, value in top1.items()}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_drawing_in_the_terminal(command: Command) -> None:
    status, out, err = command("draw", *SMALL)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("■□") == 4
    assert "global_pool, fc" in out


def test_a_drawing_as_json_and_as_a_file(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "new" / "drawing.svg"
    status, out, _ = command("draw", *SMALL, "--output", file, "--json")
    assert status == 0
    document = json.loads(out)
    assert document["files"] == [str(file)]
    assert file.read_text().startswith("<?xml")
    shares = [p["mandatory_share"] + p["skippable_share"] for p in document["parts"]]
    assert sum(shares) == pytest.approx(1)
    layers = [part for part in document["parts"] if part["letter"] is not None]
    assert [part["skippable"] for part in layers] == [[f"layer{i}.1"] for i in range(1, 5)]


def test_a_run_directory_is_drawn_as_it_was_cut(command: Command, run_directory: Path) -> None:
    document = json.loads(command("draw", run_directory, "--json").out)
    assert document["model"] == "resnet18"
    letters = [part["name"] for part in document["parts"] if part["letter"] is not None]
    assert letters == ["layer1", "layer3"]


def test_a_plot_of_a_run_shows_what_is_saved_there(command: Command, run_directory: Path) -> None:
    status, out, _ = command("plot", run_directory, "--json")
    assert status == 0
    document = json.loads(out)
    assert document["files"] == [str(run_directory / f"plot.{end}") for end in ("png", "svg")]
    assert all(Path(file).stat().st_size > 1000 for file in document["files"])
    assert document["conditions"]["device"] == "a CPU"
    by_skip = {entry["skip"]: entry for entry in document["configs"]}
    assert by_skip["TF"]["top1"] == 91.0
    assert by_skip["TF"]["latency_ms"] == 4.0
    assert by_skip["TF"]["gmacs"] < by_skip["FF"]["gmacs"]


def test_a_plot_of_a_model(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("plot", *SMALL, "--latency", "--threads", 1, "--rounds", 6)
    assert command(*words).out == "Wrote resnet18.png and resnet18.svg\n"
    text = Path("resnet18.svg").read_text()
    assert "latency, ms" in text
    assert "share of the super-net" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plot", "nothing/here"), "nothing/here, which is no directory"),
        (("plot", "."), "subpath.json"),
        (("draw", "resnet18", "--output", "drawing.pdf"), ".png or .svg"),
        (("plot", "resnet18", "--threads", 1), "without --latency"),
        (("draw", "run", "--skippable", 1), "options of the cut"),
    ],
)
def test_errors_of_the_user(
    command: Command,
    run_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    said: str,
) -> None:
    monkeypatch.chdir(run_directory.parent)
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_page_and_figures_that_are_kept(
    command: Command, run_directory: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "page.html"
    before = {path.name for path in run_directory.iterdir()}
    words = ("report", run_directory, "--latency", "--rounds", 6, "--save", "--html", file)
    status, out, _ = command(*words)
    assert status == 0
    assert out.endswith(f"Wrote {file}\n")
    text = file.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") == 3
    assert {path.name for path in run_directory.iterdir()} == before
    loaded = subpath.load(run_directory)
    assert [config.top1 for config in loaded.measured.configs] == [91.5, 91.0, 90.0, 90.25]
    assert loaded.measured.conditions.device != "a CPU"
    assert loaded.measured.choose(max_gmacs=loaded.measured["TF"].gmacs) in ("TF", "FT")
    assert command("report", run_directory, "--save").status == 0
    assert subpath.load(run_directory).measured == loaded.measured  # times of before are kept


@pytest.mark.parametrize(
    "words", [("resnet18", "--save"), ("run", "--save", "--latency", "--batch", 1, "--batch", 2)]
)
def test_figures_are_kept_in_a_run_for_one_batch_size(
    command: Command, run_directory: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object]
) -> None:
    monkeypatch.chdir(run_directory.parent)
    status, out, err = command("report", *words)
    assert (status, out) == (2, "")
    assert "--save" in err
