"""The recipes that come with the library are found by name, in a checkout and in a wheel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from subpath import recipes
from subpath.errors import RecipeError

FOLDER = Path(__file__).parents[2] / "recipes"


def test_all_are_there_by_name() -> None:
    assert recipes.names() == sorted(path.stem for path in FOLDER.glob("*.yaml"))
    for name in recipes.names():
        assert recipes.find(name).text == (FOLDER / f"{name}.yaml").read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_header_says_what_how_result_and_cost(path: Path) -> None:
    title, *lines = path.read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert title == f"# {recipes.find(path.stem).title}."
    assert re.search(rf"^#   .*subpath finetune {path.stem}\b", header, re.M)
    assert "# Expected" in header
    assert "# Cost: " in header


def test_the_nearest_name_is_proposed() -> None:
    with pytest.raises(RecipeError, match="did you mean quickstart"):
        recipes.find("quickstrat")
    with pytest.raises(RecipeError, match=r"expected one of .*folder, imagenet-mobilenetv2"):
        recipes.find("xyz")


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    path = recipes.copy("folder", tmp_path / "mine")
    assert path == tmp_path / "mine" / "folder.yaml"
    assert path.read_bytes() == (FOLDER / "folder.yaml").read_bytes()
    path.write_text("changed")
    with pytest.raises(RecipeError, match="which exists"):
        recipes.copy("folder", tmp_path / "mine")
    assert path.read_text() == "changed"
    with pytest.raises(RecipeError, match="cannot be written"):
        recipes.copy("folder", path)
