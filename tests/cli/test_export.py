"""``subpath export``: which files it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import subpath
import toys
from commands import Command
from onnx_files import session
from subpath.adaptive.model import AdaptiveModel

TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 12, "depth": 4, "num_heads": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdaptiveModel, Path]:
    """A model of two stages, and where it is saved."""
    original = timm.create_model("vit_tiny_patch16_224", num_classes=3, **TINY)
    model = subpath.convert(original.eval(), torch.zeros(2, 3, 32, 32), groups=2)
    toys.randomise(model)
    directory = tmp_path_factory.mktemp("made") / "run"
    model.save(directory)
    return model, directory


@pytest.fixture
def saved(
    made: tuple[AdaptiveModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AdaptiveModel:
    """The model; its directory is the only thing in the current one."""
    model, directory = made
    shutil.copytree(directory, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return model


def test_a_saved_model_as_one_file_for_all_configs(saved: AdaptiveModel, command: Command) -> None:
    images = torch.randn(1, 3, 32, 32)
    status, out, err = command("export", "run")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "all 4 skip configs" in out
    assert "weights:" not in out
    (file,) = Path().glob("*.onnx")
    assert file.name == "vit_tiny_patch16_224.onnx"
    letters = {"skip": np.array([False, True])}
    (got,) = session(file).run(None, {"x": images.numpy()} | letters)
    with torch.no_grad():
        assert np.allclose(got, saved(images, skip="FT").numpy(), atol=1e-4)


def test_one_config_for_torch_as_json(saved: AdaptiveModel, command: Command) -> None:
    status, out, _ = command(
        *("export", "run", "--skip", "TF", "--format", "torch", "--output", "one.pt2"),
        *("--batch", 2, "--json"),
    )
    assert status == 0
    document = json.loads(out)
    assert document["path"] == "one.pt2"
    assert document["checked"] == ["TF"]
    assert document["inputs"] == [{"name": "x", "dtype": "float32", "shape": [2, 3, 32, 32]}]
    assert document["size"] == Path("one.pt2").stat().st_size
    assert document["stages"] == [stage.name for stage in saved.stages]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--skip", "TTT"], "expected 2"),
        (["run", "--format", "torch"], "--format torch without a config"),
        (["run", "--format", "tflite"], "expected onnx or torch"),
        (["run", "--batch", "many"], "got --batch 'many'"),
        (["run", "--groups", "3"], "options of the cut"),
        (["run", "--weights", "run"], "expected the directory alone"),
        (["resnet18", "--weights", "nowhere"], "which is not there"),
        (["run", "--output", "nowhere/file.onnx"], "lies in nowhere"),
        (["run", "--input-size", "3,48,48"], "does not export"),
    ],
)
def test_what_is_refused(
    saved: AdaptiveModel, command: Command, words: list[str], message: str
) -> None:
    status, out, err = command("export", *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert [path.name for path in Path().iterdir()] == ["run"]
    assert saved is not None
