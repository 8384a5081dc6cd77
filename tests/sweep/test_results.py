"""The file of a sweep survives interruptions, and refuses what is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from subpath.errors import SweepError
from subpath.sweep.record import Check, Record, StageDepth
from subpath.sweep.results import Results

RECORD = Record(
    library="timm",
    versions={"timm": "1.0", "torch": "2.0"},
    name="resnet50",
    family="resnet",
    outcome="converted",
    inputs=((2, 3, 224, 224),),
    stages=(StageDepth("layer1", 3, 1), StageDepth("layer2", 4, 2)),
    gmacs_super=4.0,
    gmacs_base=3.0,
    twin_norms=8,
    opaque={"fc": "a reason"},
    checks={"same calls": Check(True), "base-net runs": Check(False, "no")},
    parity={"eval": Check(None, "why")},
    seconds=1.5,
)
OTHER = replace(RECORD, name="resnet18")


def test_what_a_record_tells() -> None:
    assert RECORD.skip_configs == 4
    assert RECORD.ratio == 0.75
    assert RECORD.depths == "3-4"
    assert RECORD.wrong == {"base-net runs": "no"}


def test_what_is_appended_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    results = Results(path)
    assert results.records == ()
    for number, record in enumerate((RECORD, OTHER), 1):
        results.append(record)
        assert len(path.read_text().splitlines()) == number
        assert Results(path).records[-1] == record


def test_the_last_record_of_a_network_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    for record in (RECORD, OTHER, replace(RECORD, seconds=9.0)):
        results.append(record)
    assert [(r.name, r.seconds) for r in Results(path).records] == [
        ("resnet50", 9),
        ("resnet18", 1.5),
    ]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for record in (RECORD, OTHER):
        Results(path).append(record)
    text = path.read_text()
    path.write_text(text[:-20])
    results = Results(path)
    assert results.records == (RECORD,)
    assert path.read_text() == text[:-20]  # reading changes nothing
    results.append(replace(OTHER, name="another"))
    assert [r.name for r in Results(path).records] == ["resnet50", "another"]
    assert len(path.read_text().splitlines()) == 2


def test_forgotten_records_are_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    results.append(RECORD)
    results.append(OTHER)
    results.forget([("timm", "resnet50"), ("timm", "never there")])
    results.append(replace(OTHER, name="another"))
    assert [r.name for r in Results(path).records] == ["resnet18", "another"]


@pytest.mark.parametrize("line", ["{}", "no JSON", "[1, 2]", '{"library": 3}'])
def test_a_file_of_something_else_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(SweepError, match=r"line 1 of .*results\.jsonl"):
        Results(path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match=r"cannot be|error while writing"):
        Results(tmp_path / "file" / "results.jsonl").append(RECORD)
    with pytest.raises(SweepError, match="cannot be read"):
        Results(tmp_path)
