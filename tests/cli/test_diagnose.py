"""``subpath diagnose``, on digits."""

from __future__ import annotations

import json

import pytest

from commands import run

RECIPE = "quickstart"


@pytest.fixture(scope="module")
def arguments() -> list[str]:
    return ["diagnose", RECIPE, "--images", "64"]


def test_the_document(arguments, tmp_path):
    picture = tmp_path / "blocks.svg"
    result = run(*arguments, "--json", "--max-macs", "0.95", "--output", str(picture))
    document = json.loads(result.stdout)
    assert document["samples"] == 64
    names = [block["name"] for block in document["blocks"]]
    assert set(document["least_hurt"]) <= set(names)
    assert picture.read_text().startswith("<?xml")
    for block in document["blocks"]:
        added = block["loss"] - document["loss"]
        assert block["added_loss"] == pytest.approx(added)


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table(arguments, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run(*arguments)
    assert "added loss" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= columns


def test_wrong_input(arguments):
    result = run("diagnose", "no-such-recipe", check=False)
    assert result.returncode == 2
    assert "expected" in result.stderr
    assert "Traceback" not in result.stderr
    result = run(*arguments, "--max-macs", "0.01", check=False)
    assert result.returncode == 2
    assert "expected at least" in result.stderr
