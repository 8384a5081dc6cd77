"""The tutorial's notebook says what the page says, and its outputs are what the page prints."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DOCS / "tutorial.ipynb").read_text())["cells"]
    return found


def test_it_is_made_from_the_page(cells: list[dict[str, Any]]) -> None:
    pytest.importorskip("sphinx")
    made = runpy.run_path(str(DOCS / "_ext" / "notebook.py"))
    expected = made["cells"]((DOCS / "tutorial.md").read_text())
    assert [(cell["cell_type"], cell["source"]) for cell in cells] == expected


def test_its_outputs_are_true(cells: list[dict[str, Any]]) -> None:
    """Words are equal; accuracies and rounding differ a little between processors."""
    namespace: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] != "code" or cell["source"].startswith("%"):
            continue
        shown = "".join(
            output["text"]
            for output in cell["outputs"]
            if output["output_type"] == "stream" and output["name"] == "stdout"
        )
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(cell["source"], namespace)
        if "argmax" in cell["source"]:  # what a short training says of noise is anyone's guess
            shown, said = (
                re.sub(r"\[[\d ]+\]", "[]", text) for text in (shown, printed.getvalue())
            )
        else:
            said = printed.getvalue()
        assert NUMBER.sub("N", said) == NUMBER.sub("N", shown)
        for one, other in zip(NUMBER.findall(shown), NUMBER.findall(said), strict=True):
            assert float(other) == pytest.approx(float(one), rel=0.2, abs=1e-4)
