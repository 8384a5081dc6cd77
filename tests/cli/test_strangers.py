"""Commands on a directory that anyone may have made: an error of ours, and no code of theirs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from saved import ARGUMENTS, rewrite, small


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    small().save(tmp_path / "model")
    return tmp_path / "model"


def test_no_module_is_imported_because_a_directory_names_it(
    command: Any, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strange.py").write_text("open('it_ran', 'w')\nmake = print\n")
    monkeypatch.chdir(tmp_path)
    rewrite(directory, architecture={"name": "strange:make", "arguments": {}})
    for words in (
        ("draw", directory),
        ("plot", directory),
        ("report", "resnet18", "--weights", directory),
        ("evaluate", directory),
    ):
        status, _, err = command(*words)
        assert (status, err.startswith("error: "), "Traceback" in err) == (2, True, False), words
    assert not Path("it_ran").exists()
    assert "strange" not in sys.modules


@pytest.mark.parametrize(
    "arguments",
    [{"channels": [40_000, 8, 8, 8]}, {"layers": [30_000] * 4}, {"checkpoint_path": "x.pth"}],
)
def test_no_network_larger_than_its_weights_is_made(
    command: Any, directory: Path, arguments: dict[str, Any]
) -> None:
    rewrite(directory, architecture={"name": "resnet18", "arguments": {**ARGUMENTS, **arguments}})
    for words in (("draw", directory), ("report", "resnet18", "--weights", directory)):
        status, _, err = command(*words)
        assert (status, "Traceback" in err) == (2, False)


def test_a_summary_nested_without_end(command: Any, directory: Path) -> None:
    (directory / "summary.json").write_text('{"skip": ' + "[" * 100_000)
    status, _, err = command("report", "resnet18", "--weights", directory)
    assert status == 2
    assert "nested more than" in " ".join(err.split())


def test_a_saved_model_is_reported(command: Any, directory: Path) -> None:
    status, out, _ = command("report", "resnet18", "--weights", directory, "--json")
    assert status == 0
    assert json.loads(out)


def test_a_path_that_is_not_there_is_no_model_name(command: Any, tmp_path: Path) -> None:
    for word in ("draw", "plot", "report", "export"):
        status, _, err = command(word, tmp_path / "nothing")
        assert (status, "is no directory" in " ".join(err.split())) == (2, True), err
