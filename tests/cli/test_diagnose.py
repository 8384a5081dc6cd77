"""``subpath diagnose``, on digits."""

from __future__ import annotations

import json

import pytest

from commands import Command

RECIPE = "quickstart"


ARGUMENTS = ("diagnose", RECIPE, "--samples", 64)


def test_the_document(command: Command, tmp_path):
    picture = tmp_path / "blocks.svg"
    result = command(*ARGUMENTS, "--json", "--max-macs", 0.95, "--output", picture)
    assert result.status == 0, result.err
    document = json.loads(result.out)
    assert document["samples"] == 64
    names = [block["name"] for block in document["blocks"]]
    assert set(document["least_hurt"]) <= set(names)
    assert picture.read_text().startswith("<?xml")
    for block in document["blocks"]:
        added = block["loss"] - document["loss"]
        assert block["added_loss"] == pytest.approx(added)


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table(command: Command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = command(*ARGUMENTS)
    assert "added loss" in result.out
    assert max(map(len, result.out.splitlines())) <= columns


def test_wrong_input(command: Command):
    result = command("diagnose", "no-such-recipe")
    assert result.status == 2
    assert "expected" in result.err
    result = command(*ARGUMENTS, "--max-macs", 0.01)
    assert result.status == 2
    assert "expected at least" in result.err
