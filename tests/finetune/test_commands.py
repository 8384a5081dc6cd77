"""``subpath finetune`` and ``subpath evaluate`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from commands import start_command
from subpath.cli.app import main


@pytest.fixture
def folder(recipe, tmp_path, monkeypatch) -> Path:
    del recipe["train"], recipe["name"]
    recipe["finetune"] = {"epochs": 5, "batch_size": 12}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def subpath(monkeypatch, capsys):
    """Runs the command line in this process: exit status, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["subpath", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_finetune_then_evaluate(folder, subpath):
    status, out, err = subpath("finetune", "small.yaml", "--set", "finetune.epochs=1", "--json")
    assert status == 0, err
    document = json.loads(out)  # and nothing else on stdout
    assert len(document["skip"]) == 16
    assert "fine-tuning" in err
    assert "epoch   1" in err
    run = folder / "runs" / "small"
    assert json.loads((run / "summary.json").read_text()) == document
    assert "epochs: 1" in (run / "recipe.yaml").read_text()

    status, out, err = subpath("evaluate", "runs/small", "--skip", "FFFF", "--skip", "TTTT")
    assert status == 0, err
    for skip in ("FFFF", "TTTT"):
        (line,) = [line for line in out.splitlines() if skip in line]
        assert f"{document['skip'][skip]['top1']:.2f}" in line
    assert "TFFF" not in out
    assert all(len(line) <= 80 for line in out.splitlines())

    status, out, err = subpath("finetune", "small.yaml")
    assert (status, out) == (2, "")
    assert "--overwrite" in err


def test_a_network_of_one_s_own_from_its_callable(folder, subpath, monkeypatch):
    code = (
        "from timm.models import resnet\n"
        "def network(num_classes, width):\n"
        "    channels = (width,) * 4\n"
        "    block = resnet.BasicBlock\n"
        "    return resnet.ResNet(block, [2, 2, 2, 2], num_classes, channels=channels)\n"
    )
    (folder / "own_networks.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    own = ("model.name=own_networks:network", "model.arguments={width: 8}", "finetune.epochs=1")
    settings = [word for setting in own for word in ("--set", setting)]
    status, out, err = subpath("finetune", "small.yaml", *settings, "--json")
    assert status == 0, err
    trained = json.loads(out)
    status, _, err = subpath("evaluate", "runs/small")
    assert status == 2
    assert "model" in err  # no code is imported because a directory names it
    words = ("runs/small", "--model", "own_networks:network", "--skip", "TTTT", "--json")
    status, out, err = subpath("evaluate", *words, "--calibrate", "1")
    assert status == 0, err
    assert json.loads(out)["skip"]["TTTT"] == trained["skip"]["TTTT"]
    status, _, err = subpath("finetune", "small.yaml", "--resume", "--overwrite")
    assert (status, "expected one of them" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("finetune", "nothing.yaml"), "cannot be read"),
        (("finetune", "small.yaml", "--set", "finetune.epoch=1"), "did you mean epochs?"),
        (("finetune", "small.yaml", "--set", "model.name=resnet1888"), "expected a timm model"),
        (("evaluate", "."), r"holds no subpath.json"),
        (("evaluate",), "RUN_DIR"),
    ],
)
def test_errors_of_the_user(folder, subpath, words, expected):
    status, out, err = subpath(*words)
    assert (status, out) == (2, "")
    assert expected in err.replace("\n", " ")
    assert "Traceback" not in err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(folder: Path, sent: signal.Signals) -> None:
    words = "finetune", "small.yaml", "--set", "data.workers=1"
    process = start_command(*words, "--set", "finetune.epochs=500", folder=folder)
    assert process.stderr is not None
    shown = ""
    while "epoch   2" not in shown:  # so that the first epoch has its checkpoint
        line = process.stderr.readline()
        assert line, shown
        shown += line
    process.send_signal(sent)
    out, err = process.communicate()
    assert process.returncode == 128 + sent
    assert out == ""
    assert "interrupted in runs/small; the same command with --resume goes on from the " in err
    assert "Traceback" not in shown + err


@pytest.fixture
def _same_signals():
    """The handlers that this process had are there again after the test."""
    numbers = (signal.SIGTERM, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_same_signals")
def test_a_run_interrupted_at_its_beginning(folder, subpath, monkeypatch):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("subpath.finetune.run.open_task", interrupted)
    status, out, err = subpath("finetune", "small.yaml", "--overwrite")
    assert (status, out) == (128 + signal.SIGTERM, "")
    assert "interrupted before the first checkpoint" in err
    assert "with --resume instead of --overwrite begins again" in err
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setenv("RANK", "1")  # of several processes, the first speaks
    status, out, err = subpath("finetune", "small.yaml")
    assert (status, out, err) == (128 + signal.SIGTERM, "", "")
