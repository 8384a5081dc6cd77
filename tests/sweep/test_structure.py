"""One network, examined: the numbers come from published facts, the refusals from their authors."""

from __future__ import annotations

import json

import pytest

from subpath.sweep import structure
from subpath.sweep.parity import ALWAYS
from subpath.sweep.record import Record
from subpath.sweep.structure import examine


def test_resnet50() -> None:
    record = examine("timm", "resnet50")
    assert (record.library, record.family, record.outcome) == ("timm", "resnet", "converted")
    assert record.depths == "3-4-6-3"
    assert [stage.skippable for stage in record.stages] == [1, 2, 3, 1]
    assert record.skip_configs == 16
    assert record.inputs == ((2, 3, 224, 224),)
    # Kang and Lee, table 1; counted without norms and pooling.
    assert record.gmacs_super == pytest.approx(4.11, rel=0.01)
    assert record.gmacs_base == pytest.approx(2.58, rel=0.01)
    assert record.twin_norms == 27
    assert record.checks
    assert all(check.passed for check in record.checks.values())
    assert record.wrong == {}


@pytest.mark.parametrize(
    ("name", "word"), [("vgg11", "without branches"), ("densenet121", "62 concatenations")]
)
def test_what_has_nothing_to_skip_is_refused(name: str, word: str) -> None:
    record = examine("timm", name)
    assert record.outcome == "no-residual"
    assert word in record.reason
    assert record.stages == ()
    assert record.ratio is None
    assert record.skip_configs == 0


def test_torchvision_and_the_backbone_of_a_detector() -> None:
    record = examine("torchvision", "fasterrcnn_resnet50_fpn")
    assert (record.family, record.part) == ("detection.faster_rcnn", "backbone")
    assert record.depths == "3-4-6-3"
    assert all(check.passed for check in record.checks.values())


def test_videos() -> None:
    record = examine("torchvision", "r3d_18")
    assert record.inputs == ((2, 3, 16, 112, 112),)
    assert record.depths == "2-2-2-2"


def test_what_goes_wrong_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise ValueError("no luck\nat all")

    monkeypatch.setattr(structure, "convert", fail)
    record = examine("timm", "resnet18")
    assert record.outcome == "failed"
    assert record.reason == "ValueError: no luck"


def test_a_wrong_super_net_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = structure.convert

    def convert_wrongly(model: object, inputs: object, plan: object = None) -> object:
        adaptive = convert(model, inputs, plan=plan)
        adaptive._root.layer1[1].act2.inplace = False  # one call becomes another
        return adaptive

    monkeypatch.setattr(structure, "convert", convert_wrongly)
    record = examine("timm", "resnet18")
    assert set(record.wrong) == {"same calls, eval", "same calls, train"}
    assert "aten.relu" in record.wrong["same calls, eval"]


def test_a_record_is_one_line() -> None:
    record = examine("timm", "resnet18")
    line = json.dumps(record.to_dict())
    assert "\n" not in line
    assert Record.from_dict(json.loads(line)) == record
    for wrong in ({}, [], 3, {"library": "timm"}, {**record.to_dict(), "stages": 3}):
        with pytest.raises(ValueError, match="no record"):
            Record.from_dict(wrong)


def test_small_networks_have_their_numbers_compared() -> None:
    record = examine("nn", "encoder-pre-norm")
    assert (record.outcome, record.run, record.read_by) == ("converted", "in place", "run")
    assert record.depths == "2-2-2"
    assert list(record.checks) == list(ALWAYS)
    assert [record.checks[title].passed for title in ("eval", "train step")] == [True, True]
    # Half of the blocks, each of the same cost, are skipped.
    assert record.ratio == 0.5
