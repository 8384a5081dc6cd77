"""Commands that last collect garbage; those that do not, do without."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator

import pytest

from subpath.cli import app
from subpath.cli.lasting import lasting


def command(value: int, *, latency: bool = False) -> tuple[int, bool]:
    """Says whether garbage is collected."""
    return value, gc.isenabled()


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_command_that_lasts_collects_garbage() -> None:
    assert lasting(command)(1) == (1, True)


def test_one_that_lasts_with_an_option() -> None:
    run = lasting(command, only_with="latency")
    assert run(1) == (1, False)
    assert run(1, latency=True) == (1, True)
    assert inspect.signature(run) == inspect.signature(command)


def test_whoever_calls_the_command_line_from_python_keeps_his_collector(monkeypatch):
    monkeypatch.setattr("sys.argv", ["subpath", "--version"])
    gc.enable()
    with pytest.raises(SystemExit):
        app.main()
    assert gc.isenabled()
