"""A sweep examines what is not known yet, and writes down everything, also what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import timm

from subpath import zoo
from subpath.errors import ModelError, SweepError
from subpath.sweep.callback import NoCallback
from subpath.sweep.parity import MADE
from subpath.sweep.record import Check, Record, by_family, smallest
from subpath.sweep.results import Results
from subpath.sweep.run import choose, installed, sweep
from subpath.zoo.catalogue import Catalogue

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_examiner.py")))
NAMES = ["resnet34", "resnet18", "vgg11", "vgg13", "vit_tiny_patch16_224"]


class Counted(NoCallback):
    def __init__(self) -> None:
        self.rounds: list[tuple[str, int, int]] = []
        self.examined: list[str] = []
        self.ends = 0

    def begin(self, title: str, total: int, known: Sequence[Record]) -> None:
        self.rounds.append((title, total, len(known)))

    def done(self, worker: int, record: Record) -> None:
        self.examined.append(record.name)

    def end(self) -> None:
        self.ends += 1


def run(path: Path, names: Sequence[str], parity: bool = False) -> tuple[list[Record], Counted]:
    callback = Counted()
    records = sweep(
        "timm", names, Results(path), parity=parity, workers=2, callback=callback, command=COMMAND
    )
    return records, callback


def test_everything_is_written_down_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    records, callback = run(path, NAMES[:3])
    assert [record.name for record in records] == NAMES[:3]
    assert sorted(callback.examined) == sorted(NAMES[:3])
    assert callback.rounds == [("timm, structure", 3, 0)]
    records, callback = run(path, NAMES)
    assert [record.outcome for record in records] == [
        "converted",
        "converted",
        "no-residual",
        "failed",
        "converted",
    ]
    assert callback.rounds == [("timm, structure", 5, 3)]
    assert sorted(callback.examined) == sorted(NAMES[3:])
    assert records[3].reason == "its process ended with status 1"
    assert records[3].family == "vgg"
    assert {record.name: record for record in Results(path).records} == {
        record.name: record for record in records
    }
    assert run(path, NAMES)[1].examined == []


def test_what_another_version_gave_is_done_again(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    (record,) = sweep("timm", ["vgg11"], results, command=COMMAND)
    assert record.versions["timm"] == timm.__version__
    results.append(replace(record, versions={"timm": "0.1", "torch": "1.0"}))
    assert run(results.path, ["vgg11"])[1].examined == ["vgg11"]
    assert len(Results(results.path).records) == 1


def test_parity_of_the_smallest_of_each_family(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    records, callback = run(path, NAMES, parity=True)
    assert callback.rounds == [("timm, structure", 5, 0), ("timm, parity", 2, 0)]
    assert callback.ends == 2
    by_name = {record.name: record for record in records}
    assert by_name["resnet34"].parity == {}
    assert by_name["resnet18"].parity == {"eval": Check(True)}
    assert by_name["resnet18"].depths == "2"  # what was known stays
    failed = by_name["vit_tiny_patch16_224"]
    assert failed.wrong == {MADE: "its process ended with status 1"}
    again, callback = run(path, NAMES, parity=True)
    assert again == records
    assert callback.rounds == [("timm, structure", 5, 5), ("timm, parity", 2, 2)]
    assert callback.examined == []


def test_the_smallest_has_the_fewest_multiply_adds() -> None:
    blank = Record("timm", {}, "large", "family", outcome="converted", gmacs_super=2.0)
    small = replace(blank, name="small", gmacs_super=1.0)
    refused = replace(blank, name="refused", gmacs_super=None, outcome="no-residual")
    other = replace(blank, name="other", family="another")
    families = by_family([blank, small, refused, other])
    assert families == {"another": [other], "family": [blank, small, refused]}
    assert [smallest(family) for family in families.values()] == [other, small]
    assert smallest([refused]) is None


def test_names_are_chosen_by_pattern_and_family() -> None:
    assert choose(["timm"]) == {"timm": timm.list_models()}
    assert choose(["timm"], ["resnet18", "resnet34"]) == {"timm": ["resnet18", "resnet34"]}
    assert choose(["timm"], ["resnet*"]) == {"timm": timm.list_models("resnet*")}
    assert choose(["timm"], family="vgg") == {"timm": timm.list_models(module="vgg")}
    assert choose(["timm"], ["*_bn"], "vgg") == {"timm": timm.list_models("*_bn", module="vgg")}
    assert "raft_large" in choose(["torchvision"])["torchvision"]


def test_a_pattern_may_be_that_of_some_libraries_alone() -> None:
    found = choose(["timm", "torchvision", "nn"], ["vgg11", "decoder-*"])
    assert found == {
        "timm": ["vgg11"],
        "torchvision": ["vgg11"],
        "nn": ["decoder-causal", "decoder-pre-norm"],
    }


def test_what_is_not_installed_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Catalogue("missing", "no_such_module", "no-such-distribution", {})
    monkeypatch.setattr(zoo, "LIBRARIES", {**zoo.LIBRARIES, "missing": missing})
    here, (said,) = installed(["nn", "missing"])
    assert here == ["nn"]
    assert "pip install no-such-distribution, or 'subpath[libraries]'" in said
    with pytest.raises(ModelError, match="no-such-distribution"):
        sweep("missing", ["one"], Results(Path("never.jsonl")), command=COMMAND)


@pytest.mark.parametrize(
    ("patterns", "family", "said"),
    [
        (["resnet999"], None, "'resnet999'"),
        (["resnet18", "nothing*"], None, "'nothing*'"),
        (["resnet18"], "vgg", "in the family vgg"),
        ([], "vggg", "vision_transformer"),
    ],
)
def test_a_choice_of_nothing_is_refused(patterns: list[str], family: str | None, said: str) -> None:
    with pytest.raises(SweepError) as raised:
        choose(["timm"], patterns, family)
    assert said in str(raised.value)
