"""Files of one config, what is refused, and what is left behind when something fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import subpath
import toys
from onnx_files import adaptive, feeds, session
from subpath.adaptive.model import AdaptiveModel
from subpath.errors import ExportError, SkipConfigError
from subpath.export import Exported, to_onnx, to_torch
from subpath.export import onnx as writing
from subpath.export.check import configs_to_check
from subpath.export.session import Session

Small = tuple[AdaptiveModel, Exported]


def test_one_config(small: Small, tmp_path: Path) -> None:
    model, whole = small
    made = to_onnx(model, tmp_path / "one.onnx", skip="TF")
    images = torch.randn(3, 3, 8, 8)
    (got,) = session(made.path).run(["output"], {"x": images.numpy()})
    with torch.no_grad():
        assert np.allclose(got, model(images, skip="TF").numpy(), atol=1e-4)
    assert [tensor.name for tensor in made.inputs] == ["x"]
    assert made.checked == ("TF",)
    assert made.size < whole.size
    told = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}
    assert told["subpath.skip"] == "TF"


def test_torch_loads_its_file_without_this_library(small: Small, tmp_path: Path) -> None:
    model, _ = small
    made = to_torch(model, tmp_path / "one.pt2", skip="FT")
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        torch.save([images, model(images, skip="FT")], tmp_path / "expected.pt")
    program = (
        "import sys, torch\n"
        "images, expected = torch.load('expected.pt', weights_only=True)\n"
        "got = torch.export.load('one.pt2').module()(images)\n"
        "assert torch.allclose(got, expected, atol=1e-5) and 'subpath' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    assert made.inputs[0].shape == ("batch", 3, 8, 8)
    assert b"site-packages" not in made.path.read_bytes()  # names and code are not compressed


def test_a_batch_of_fixed_size_is_all_that_its_file_takes(small: Small, tmp_path: Path) -> None:
    model, _ = small
    made = to_onnx(model, tmp_path / "fixed.onnx", batch=4)
    running = session(made.path)
    assert made.inputs[0].shape == (4, 3, 8, 8)
    (got,) = running.run(None, feeds(made, torch.zeros(4, 3, 8, 8), "TT"))
    assert got.shape == (4, 5)
    with pytest.raises(Exception, match="Got: 3 Expected: 4"):
        running.run(None, feeds(made, torch.zeros(3, 3, 8, 8), "TT"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opset": 9}, "got opset 9; expected one from 18"),
        ({"batch": 0}, "got a batch of 0; expected 1 or more"),
        ({"path": "."}, "is a directory"),
        ({"path": "nowhere/file.onnx"}, "which is not there"),
        ({"example_input": "a cat"}, "takes str; expected tensors with a batch"),
        ({"example_input": torch.zeros(2, 4, 8, 8)}, "does not export"),
    ],
)
def test_wrong_arguments(
    small: Small, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = tmp_path / arguments.pop("path", "file.onnx")
    with pytest.raises(ExportError, match=message):
        to_onnx(small[0], path, **arguments)
    assert not list(tmp_path.iterdir())


def test_wrong_configs(small: Small, tmp_path: Path) -> None:
    for write in (to_onnx, to_torch):
        with pytest.raises(SkipConfigError, match="expected 2"):
            write(small[0], tmp_path / "file", skip="TTT")
    assert not list(tmp_path.iterdir())


def test_models_that_are_not_ready(tmp_path: Path) -> None:
    model = adaptive(toys.TOYS["transformer"])
    path = tmp_path / "file.onnx"
    with pytest.raises(ExportError, match=r"train mode; expected eval mode.*model\.eval\(\)"):
        to_onnx(model.train(), path)
    with pytest.raises(ExportError, match=r"weights in float64; expected float32.*model\.float"):
        to_onnx(model.eval().double(), path)
    with pytest.raises(ExportError, match="without data"):
        to_onnx(model.float().to("meta"), path)
    assert not list(tmp_path.iterdir())


def test_calibrated_configs_go_into_files_of_their_own(tmp_path: Path) -> None:
    model, images = adaptive(toys.TOYS["post-activation"]), torch.randn(3, 3, 8, 8)
    subpath.calibrate(model, [4 * images + 1], "TF", keep=True)
    with pytest.raises(ExportError, match=r"TF have statistics of their own; expected none"):
        to_onnx(model, tmp_path / "all.onnx")
    made = to_onnx(model, tmp_path / "one.onnx", skip="TF")
    (got,) = session(made.path).run(["output"], {"x": images.numpy()})
    with torch.no_grad():
        assert np.allclose(got, model(images, skip="TF").numpy(), atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["one.onnx"]


def test_control_flow_of_the_network_s_own_is_refused(tmp_path: Path) -> None:
    said = r"torch\.onnx does not export: GuardOnDataDependent|got a difference of"  # torch 2.8
    with pytest.raises(ExportError, match=said):
        to_onnx(adaptive(toys.TOYS["choosy branch"]), tmp_path / "file.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"onnxruntime; expected.*pip install 'subpath\[onnx\]'"):
        to_onnx(small[0], tmp_path / "file.onnx")


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_a_file_that_computes_something_else_is_not_kept(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """Also when it is one config of four; and the file that was there before stays."""
    path = tmp_path / "file.onnx"
    path.write_text("what was there")
    right = Session.run

    def run(self: Session, config: Any, inputs: Any) -> list[torch.Tensor]:
        return [value * (wrong if config == "FT" else 1) for value in right(self, config, inputs)]

    monkeypatch.setattr(Session, "run", run)
    with pytest.raises(ExportError, match=r"got a difference of .* with FT on random inputs"):
        to_onnx(small[0], path)
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_small_outputs_must_be_right_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adaptive(toys.TOYS["post-activation"])
    with torch.no_grad():
        model.fc.weight *= 1e-6
        model.fc.bias *= 1e-6
    to_onnx(model, tmp_path / "right.onnx", skip="TF")
    right = Session.run

    def run(self: Session, config: Any, inputs: Any) -> list[torch.Tensor]:
        return [0 * value for value in right(self, config, inputs)]

    monkeypatch.setattr(Session, "run", run)
    with pytest.raises(ExportError, match="got a difference of"):
        to_onnx(model, tmp_path / "wrong.onnx", skip="TF")
    assert [path.name for path in tmp_path.iterdir()] == ["right.onnx"]


def test_many_stages_are_checked_at_the_ends_and_one_letter_from_them() -> None:
    assert len(configs_to_check(6)) == 64
    some = configs_to_check(8)
    assert len(some) == len(set(some)) == 2 + 2 * 8
    assert {config.count("T") for config in some} == {0, 1, 7, 8}
