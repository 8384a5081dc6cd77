"""``subpath doctor`` as a user types it."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from commands import Command


def test_doctor_for_people_and_as_json(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    status, out, _ = command("doctor")
    assert status == 0
    assert f"  torch {metadata.version('torch'):>16}".split() in [
        line.split() for line in out.splitlines()
    ]
    assert "OMP_NUM_THREADS=3" in out
    assert "cpu" in out
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(command("doctor", "--json").out)
    assert document["ready"] is True
    assert document["devices"][0]["works"] is True


def test_what_is_missing_shows_in_the_status(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["timm>=99", "no-such-package; extra == 'plot'", "diffusing; extra == 'libraries'"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    status, out, _ = command("doctor")
    assert status == 1
    assert f"{metadata.version('timm')}, expected >=99" in out
    assert "extra plot: pip install 'subpath[plot]'\n  no-such-package  missing" in out
    assert "diffusing" not in out
