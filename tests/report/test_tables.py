"""What people and programs get to see, from hand-written data."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from subpath.planning import Opaque, Plan, StagePlan, TwinNorm
from subpath.report import (
    ConfigRow,
    config_table,
    inspect_document,
    inspect_view,
    report_document,
    report_view,
)
from subpath.report.formatting import millions, significant

LONG = tuple(f"network.backbone.stages.2.blocks.{i}" for i in range(18))
PLAN = Plan(
    stages=(
        StagePlan("layer1", ("layer1.0", "layer1.1", "layer1.2"), ("layer1.2",), (256, 56, 56), 1),
        StagePlan("network.backbone.stages.2.blocks", LONG, LONG[9:], (14, 14, 384), 3),
    ),
    twin_norms=(
        TwinNorm("stem.norm", 0),
        *(TwinNorm(f"layer1.{i}.{name}", 0) for i in (0, 1) for name in ("bn1", "bn2")),
        *(TwinNorm(f"{block}.norm", 1) for block in LONG[:9]),
    ),
    opened=(),
    opaque=(
        Opaque("neck.0", "TraceError: control flow"),
        Opaque("neck.3", "TraceError: control flow"),
    ),
)
ROWS = (
    ConfigRow("FF", 4.0, 1.0, 25_000_000, 77.6),
    ConfigRow("TF", 3.0, 0.75, 20_500_000),
    ConfigRow("FT", 0.0123, 0.5, 12_250_000, 76.0),
)


def text(view: RenderableType, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(view)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("gmacs", "shown"),
    [
        (15.4703, "15.470"),
        (1.0, "1.000"),
        (0.9511, "0.9511"),
        (0.0088536, "0.008854"),
        (0.00028, "0.0002800"),
        (2e-9, "0.000000002"),
        (0.0, "0.000"),
    ],
)
def test_four_digits_of_large_and_small(gmacs: float, shown: str) -> None:
    assert significant(gmacs) == shown


def test_parameters_of_small_networks_can_be_told_apart() -> None:
    assert [millions(n) for n in (25_557_032, 1_000_000, 64_123)] == ["25.56", "1.00", "0.0641"]


def test_inspect_document() -> None:
    document = inspect_document("own:net", (3, 224, 224), PLAN)
    assert json.loads(json.dumps(document)) == document
    assert document["model"] == "own:net"
    assert document["input_size"] == [3, 224, 224]
    assert document["twin_norms"] == 14
    first, second = document["stages"]
    assert first == {
        "name": "layer1",
        "blocks": ["layer1.0", "layer1.1", "layer1.2"],
        "mandatory": ["layer1.0", "layer1.1"],
        "skippable": ["layer1.2"],
        "output_shape": [256, 56, 56],
        "twin_norms": ["stem.norm", "layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1", "layer1.1.bn2"],
    }
    assert second["mandatory"] == list(LONG[:9])
    assert second["skippable"] == list(LONG[9:])
    assert [item["path"] for item in document["opaque"]] == ["neck.0", "neck.3"]
    assert (document["run"], document["why"]) == ("graph", "")


def test_inspect_says_what_runs_in_place_and_why() -> None:
    plan = replace(PLAN, run="in place", why="torch.fx cannot trace it; layer1.0 always runs")
    document = inspect_document("own:net", (3, 224, 224), plan)
    assert (document["run"], document["why"]) == (plan.run, plan.why)
    shown = text(inspect_view("own:net", (3, 224, 224), plan), 80)
    assert "runs in place, read from one run:" in shown
    assert "layer1.0 always runs" in shown
    assert "runs in place" not in text(inspect_view("own:net", (3, 224, 224), PLAN), 80)


def test_report_document() -> None:
    document = report_document("resnet50", (3, 224, 224), PLAN, ROWS, {"add": 16})
    assert json.loads(json.dumps(document)) == {
        "model": "resnet50",
        "input_size": [3, 224, 224],
        "stages": ["layer1", "network.backbone.stages.2.blocks"],
        "configs": [
            {"skip": "FF", "gmacs": 4.0, "macs_ratio": 1.0, "params_m": 25.0, "top1": 77.6},
            {"skip": "TF", "gmacs": 3.0, "macs_ratio": 0.75, "params_m": 20.5},
            {"skip": "FT", "gmacs": 0.0123, "macs_ratio": 0.5, "params_m": 12.25, "top1": 76.0},
        ],
        "uncounted_operators": {"add": 16},
    }


@pytest.mark.parametrize("width", [80, 140])
def test_the_tree_of_a_network(width: int) -> None:
    shown = text(inspect_view("own:net", (3, 224, 224), PLAN), width)
    assert "input 3x224x224, 2 stages, 4 skip configs, 14 twin norms" in shown
    assert "layer1  3 blocks, output 256x56x56" in shown
    assert "mandatory       layer1.0, layer1.1\n" in shown
    assert "skippable       layer1.2\n" in shown
    assert "5 twin norms    stem.norm; bn1, bn2 in layer1.0, layer1.1\n" in shown
    assert "network.backbone.stages.2.blocks  18 blocks, output 14x14x384" in shown
    assert "2 modules called whole" in shown
    assert "neck.0, neck.3: TraceError: control flow" in shown
    joined = " ".join(shown.replace("│", "").split())
    assert "network.backbone.stages.2.blocks.9 ... network.backbone.stages.2.blocks.17" in joined


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_of_configs(width: int) -> None:
    shown = text(report_view("resnet50", (3, 224, 224), PLAN, ROWS, {"add": 16, "gelu": 2}), width)
    lines = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in lines if line and set(line[0]) <= set("TF")] == ["FF", "TF", "FT"]
    full = next(line for line in lines if line[:2] == ["FF", "super-net"])
    assert full[2] == "4.000"
    assert full[-3:] == ["100.0%", "25.00", "77.60"]
    assert next(line for line in lines if line[:1] == ["TF"])[-2:] == ["75.0%", "20.50"]
    assert "letter 2  network.backbone.stages.2.blocks  T skips 9 of 18 blocks" in shown
    assert "GFLOPs" in shown
    assert "add x16, gelu x2" in shown
    assert "3 of 4 skip configs; --all lists all." in shown


def test_columns_that_nothing_is_known_of_are_left_out() -> None:
    shown = text(config_table([ConfigRow("FF", 1.0), ConfigRow("TT", 0.5)]), 80)
    assert "GMACs" in shown
    for absent in ("of super-net", "params", "top-1"):
        assert absent not in shown
    assert "TT base-net" in shown


def test_names_of_many_stages_fit_in_80_columns() -> None:
    row = ConfigRow("F" * 12, 123.456, 1.0, 1_234_567_890, 77.6)
    shown = text(config_table([row]), 80)
    for cell in ("FFFFFFFFFFFF super-net", "123.456", "100.0%", "1234.57", "77.60"):
        assert cell in shown
