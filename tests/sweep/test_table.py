"""The page is made from the records alone; here from records written by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from subpath.errors import SweepError
from subpath.sweep.parity import MADE
from subpath.sweep.record import Check, Record, StageDepth
from subpath.sweep.table import page, write_page

SMALL = Record(
    library="timm",
    versions={"timm": "1.0", "torch": "2.0"},
    name="net_small",
    family="net",
    outcome="converted",
    stages=(StageDepth("a", 2, 1), StageDepth("b", 4, 2)),
    gmacs_super=1.0,
    gmacs_base=0.5,
    checks={"same calls, eval": Check(True)},
    parity={MADE: Check(True, "3x64x64"), "eval": Check(True), "other size": Check(None, "no way")},
)
LARGE = replace(SMALL, name="net_large", gmacs_super=8.0, gmacs_base=6.0, parity={})
WRONG = replace(
    SMALL,
    name="odd",
    family="odd",
    checks={"same calls, eval": Check(False, "call 3 is a|b")},
    parity={MADE: Check(True, "3x64x64"), "eval": Check(False, "1 of 4 numbers differ")},
)
REFUSED = replace(
    SMALL,
    name="dense",
    family="dense",
    outcome="no-residual",
    reason="got a network. Found 1 addition: 12 branches are concatenated. Try another.",
    stages=(),
    gmacs_super=None,
    gmacs_base=None,
    checks={},
    parity={},
)
FAILED = replace(REFUSED, name="net_broken", family="net", outcome="failed", reason="it *hung*")
PART = replace(
    SMALL, library="torchvision", versions={"torchvision": "0.2"}, name="finder", part="backbone"
)
FALSE = Check(False, "it differs")
RECORDS = [LARGE, SMALL, WRONG, REFUSED, FAILED, PART]


def cells(text: str, first: str) -> list[str]:
    """The cells of the one line of a table whose first cell is ``first``."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def test_a_row_for_each_family() -> None:
    families = page(RECORDS).partition("###")[0]
    assert "timm 1.0, torch 2.0: 5 networks in 3 families, 3 converted, 1 refused, 1 failed." in (
        families
    )
    row = cells(families, "net")
    assert row[:7] == ["net", "3", "2", "", "1", "`net_small`: 2-4", "50% to 75%"]
    row = cells(families, "dense")
    assert row == ["dense", "1", "", "1", "", "", "", "branches are concatenated"]


def test_checks_are_counted_and_failures_named() -> None:
    text = page(RECORDS)
    same = text.partition("### timm: the same calls")[2].partition("###")[0]
    assert cells(same, "same calls, eval") == ["same calls, eval", "2", "1", ""]
    assert r"same calls, eval: call 3 is a\|b (`odd`)" in same


def test_parity_check_by_check() -> None:
    text = page(RECORDS).partition("### timm: the same numbers")[2].partition("###")[0]
    titles, net, odd = cells(text, "family"), cells(text, "net"), cells(text, "odd")
    assert net[1:3] == ["`net_small`", "3x64x64"]
    assert (net[titles.index("eval")], odd[titles.index("eval")]) == ("yes", "**no**")
    assert net[titles.index("other size")] == "-"
    assert odd[titles.index("other size")] == ""  # it was not asked
    assert "- **no** eval: 1 of 4 numbers differ (`odd`)" in text
    assert "- - other size: no way (`net_small`)" in text
    assert "net_large" not in text


def test_every_refusal_and_failure_has_its_reason() -> None:
    text = page(RECORDS)
    refused = text.partition("### timm: refused")[2].partition("##")[0]
    assert refused.split("\n")[2] == (
        "- dense: found 1 addition: 12 branches are concatenated (`dense`)"
    )
    failed = text.partition("### timm: failed")[2].partition("##")[0]
    assert failed.split("\n")[2] == r"- net: it \*hung\* (`net_broken`)"


def test_one_and_many_are_one_cause() -> None:
    reasons = [
        "Found 4 additions: 1 stage with one such block. Try another.",
        "Found 3: 2 stages with one such block. Try another.",
    ]
    records = [replace(REFUSED, name=f"net_{i}", reason=reason) for i, reason in enumerate(reasons)]
    (row,) = (
        line for line in page(records).split("\n") if line.startswith(f"| {REFUSED.family} |")
    )
    assert row.endswith("| stages with one such block |")


def test_both_libraries_have_a_part_and_a_command() -> None:
    text = page(RECORDS)
    assert text.index("## timm\n") < text.index("## torchvision\n")
    assert "`finder.backbone`: 2-4" in text
    for library in ("timm", "torchvision"):
        assert f"subpath zoo --library {library} --parity --table docs/zoo.md\n" in text
    assert "--parity" not in page([LARGE])


def test_small_networks_have_a_row_each() -> None:
    checks = {"eval": Check(True), "train step": Check(None, "no way"), "base-net by hand": FALSE}
    one = replace(SMALL, library="nn", name="encoder", run="in place", checks=checks, parity={})
    text = page([one, replace(REFUSED, library="nn", name="dense"), LARGE])
    assert text.index("## timm\n") < text.index("## Other libraries\n") < text.index("### nn\n")
    assert "2 networks, 1 converted, 1 refused, 0 failed." in text
    assert cells(text, "`encoder`") == ["`encoder`", "2-4", "in place", "50%", "yes", "-", "**no**"]
    assert "- **no** base-net by hand: it differs (`encoder`)\n" in text
    assert "#### nn: refused\n\n- dense: found 1 addition" in text


def test_the_order_of_records_makes_no_difference() -> None:
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    assert page(shuffled) == page(RECORDS)


def test_nothing_is_a_page_too() -> None:
    assert page([]).startswith("# The zoo")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "zoo.md", RECORDS)
    assert (tmp_path / "new" / "zoo.md").read_text() == page(RECORDS)
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="error while writing"):
        write_page(tmp_path / "file" / "zoo.md", RECORDS)
