"""``subpath zoo`` as a user types it."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from commands import start_command
from subpath.cli.app import main
from subpath.cli.sweep_progress import Lines, LiveView
from subpath.sweep.record import Check, Record, StageDepth
from subpath.sweep.results import Results

RECORD = Record(
    library="timm",
    versions={},
    name="net",
    family="net",
    outcome="converted",
    stages=(StageDepth("a", 2, 1),),
    gmacs_super=2.0,
    gmacs_base=1.0,
    seconds=1.25,
)
WRONG = replace(RECORD, name="odd", checks={"same calls": Check(False, "another one")})
FAILED = replace(RECORD, name="slow", outcome="failed", reason="it took more than 3 seconds")
REFUSED = replace(RECORD, name="dense", outcome="no-residual", reason="nothing to skip")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    sys.argv = ["subpath", "zoo", *map(str, words)]
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("COLUMNS", "80")


def test_a_sweep_and_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = "--filter", "vgg11", "--filter", "resnet18", "--workers", 1
    status, out, err = run(capsys, *chosen, "--table", "pages/zoo.md")
    assert status == 0
    assert out.startswith("2 networks: 1 converted, 1 refused, 0 failed, 0 wrong\n")
    assert "Records are in runs/zoo.jsonl." in out
    assert "resnet18: converted 2-2-2-2" in err
    assert {record.name for record in Results(Path("runs/zoo.jsonl")).records} == {
        "vgg11",
        "resnet18",
    }
    assert "`resnet18`: 2-2-2-2" in Path("pages/zoo.md").read_text()
    status, out, err = run(capsys, *chosen, "--json")
    assert json.loads(out)["converted"] == 1
    assert "2 of them known" in err
    assert "resnet18: converted" not in err
    status, out, err = run(capsys, "--filter", "vgg11", "--fresh", "--json")
    assert "0 of them known" in err
    assert len(Results(Path("runs/zoo.jsonl")).records) == 2


def test_a_failure_shows_in_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--filter", "resnet152", "--seconds", 1)
    assert status == 1
    assert "0 converted, 0 refused, 1 failed" in out
    assert "resnet152  failed: it took more than 1 seconds" in out.replace("\n", " ")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_says_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    process = start_command("zoo", "--filter", "resnet*", "--workers", 1, folder=tmp_path)
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    assert lines[0].startswith("timm, structure: ")
    process.send_signal(sent)
    out, err = process.communicate()
    assert process.returncode == 128 + sent
    assert out == ""
    done = re.search(r"interrupted after (\d+) of ", err)
    assert done is not None
    assert "runs/zoo.jsonl; the same command goes on from there" in err
    assert "Traceback" not in err
    assert len(Results(tmp_path / "runs" / "zoo.jsonl").records) == int(done[1]) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--library", "keras"], "'keras'"),
        (["--filter", "resnet999"], "'resnet999'"),
        (["--family", "vggg"], "'vggg'"),
        (["--filter", "vgg11", "--results", "."], "cannot be read"),
        (["--workers", "0"], "--workers"),
        (["--seconds", "soon"], "--seconds"),
    ],
)
def test_errors_of_the_user(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_one_line_a_network_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.begin("structure", 5, [RECORD])
    for record in (RECORD, WRONG, FAILED, REFUSED):
        lines.done(1, record)
    lines.end()
    assert capsys.readouterr().err.splitlines() == [
        "structure: 5 networks, 1 of them known",
        "[2/5] net: converted 2, 1.2 s",
        "[3/5] odd: wrong 2, 1.2 s",
        "    wrong, same calls: another one",
        "[4/5] slow: failed 2, 1.2 s",
        "    failed: it took more than 3 seconds",
        "[5/5] dense: refused 2, 1.2 s",
    ]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_live_view_fits_the_terminal(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, height=20, force_terminal=True, color_system=None)
    view = LiveView(console)
    view.begin("structure", 5, [RECORD])
    for record in (RECORD, WRONG, FAILED, REFUSED):
        view.done(1, record)
    view.working(1, {"name": "net_with_a_rather_long_name_as_some_have_1234567890"}, "making")
    view.working(2, {"name": "other"}, "running in train mode")
    drawn = io.StringIO()
    Console(file=drawn, width=width).print(view._view())
    view.end()
    shown = drawn.getvalue().splitlines()
    assert max(map(len, shown)) <= width
    assert "5/5" in shown[0]
    assert shown[1].split()[0] == "1"
    assert "making" in shown[1]
    assert "running in train mode" in shown[2]
    assert shown[3].split() == ["2", "converted", "1", "refused", "1", "failed", "1", "wrong"]
    assert "slow: failed: it took more than 3 seconds" in screen.getvalue()
