"""Commands as a user types them, in this process."""

from __future__ import annotations

import sys

import pytest

from commands import Command, Outcome
from subpath.cli.app import main


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["subpath", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    monkeypatch.setenv("COLUMNS", "80")
    return run
