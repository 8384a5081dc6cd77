"""``subpath recipes`` as a user types it, and shell completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Command
from subpath import recipes


def test_the_list(command: Command) -> None:
    status, out, _ = command("recipes")
    assert status == 0
    for name in recipes.names():
        assert f"{name} " in out
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(command("recipes", "--json").out)
    assert [entry["name"] for entry in document] == recipes.names()
    assert document[-1]["title"].startswith("Scanned digits")


def test_a_copy(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("recipes", "copy", "quickstart")
    assert (status, out) == (
        0,
        "Wrote quickstart.yaml; run it with: subpath finetune quickstart.yaml\n",
    )
    assert Path("quickstart.yaml").read_text() == recipes.find("quickstart").text
    document = json.loads(command("recipes", "copy", "quickstart", "mine", "--json").out)
    assert Path(document["path"]) == Path("mine/quickstart.yaml")
    status, out, err = command("recipes", "copy", "quickstart")
    assert (status, out) == (2, "")
    assert "which exists" in err


def test_a_recipe_runs_by_name(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["train=null", "finetune.epochs=1", "data.input_size=[1, 32, 32]"]
    settings = [word for setting in short for word in ("--set", setting)]
    status, out, err = command("finetune", "quickstart", *settings, "--json")
    assert status == 0, err
    assert json.loads(out)["skip"].keys() >= {"FFFF", "TTTT"}
    assert (tmp_path / "runs" / "quickstart" / "summary.json").is_file()
    status, _, err = command("finetune", "quickstrat")
    assert (status, "did you mean quickstart?" in err) == (2, True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("subpath fine", "finetune"), ("subpath recipes copy imagenet-s", "imagenet-swin-t")],
)
def test_shells_complete_words(typed: str, offered: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "subpath"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "_SUBPATH_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [offered], done.stderr
