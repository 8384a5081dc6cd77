"""Latency as it is shown, from hand-written figures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from subpath.choice import Conditions
from subpath.measure import ConfigLatency, LatencyTable
from subpath.planning import Plan, StagePlan
from subpath.report import ConfigRow, report_document, report_view
from subpath.skip import SkipConfig

PLAN = Plan(
    stages=tuple(
        StagePlan(name, (f"{name}.0", f"{name}.1"), (f"{name}.1",), (8, 8, 8), 1)
        for name in ("layer1", "layer2")
    ),
    twin_norms=(),
    opened=(),
)
ROWS = [
    ConfigRow("FF", 4.0, 1.0, 25_000_000, 77.0),
    ConfigRow("TF", 3.0, 0.75, 20_000_000, 75.0),
    ConfigRow("FT", 3.0, 0.75, 15_000_000, 76.0),
    ConfigRow("TT", 2.0, 0.5, 10_000_000, 74.0),
]


def entry(skip: str, measured: float | None, predicted: float | None, saving: float, noise: float):
    return ConfigLatency(
        skip=SkipConfig(skip),
        measured_ms=measured,
        quartiles_ms=None if measured is None else (measured - 0.25, measured + 0.5),
        predicted_ms=predicted,
        predicted_interval_ms=None if predicted is None else (predicted - 1, predicted + 1),
        saving_ms=saving,
        saving_interval_ms=(saving - noise, saving + noise),
    )


def times(*, base_measured: bool = True, batch: int = 1) -> LatencyTable:
    base = entry("TT", 12.5, 11.5, 7.5, 1.0) if base_measured else entry("TT", None, 11.5, 8.5, 1.0)
    configs = (
        entry("FF", 20.0, None, 0.0, 0.0),
        entry("TF", 19.5, None, 0.5, 1.0),
        entry("FT", 12.0, None, 8.0, 1.0),
        base,
    )
    conditions = Conditions("A CPU", 2, "bf16", batch, "torch 2.6")
    return LatencyTable(conditions, ((batch, 3, 8, 8),), 15, configs)


def shown(*tables: LatencyTable, width: int = 80) -> list[str]:
    out = io.StringIO()
    view = report_view("net", (3, 8, 8), PLAN, ROWS, {}, tables)
    Console(file=out, width=width).print(view)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize("width", [80, 140])
def test_every_figure_with_its_conditions_and_marks(width: int) -> None:
    lines = shown(times(), times(base_measured=False, batch=8), width=width)
    text = " ".join(lines)
    assert "Latency batch 1, A CPU, 2 threads, bf16, torch 2.6" in text
    assert "Latency batch 8, A CPU, 2 threads, bf16, torch 2.6" in text
    assert "FF super-net 20.00 19.75 to 20.50 100.0% 77.00" in lines
    assert "TF 19.50 ≈ 19.25 to 20.00 97.5% 75.00" in lines
    assert "TT base-net 12.50 12.25 to 13.00 62.5% 74.00" in lines
    assert "TT base-net ~11.50 predicted 57.5% 74.00" in lines
    assert "TT was predicted to take 11.50 ms (10.50 to 12.50) and took 12.50 ms" in text
    assert "-8.0% off" in text
    assert text.count("≈: the difference") == text.count("~: predicted, as") == 1
    assert text.count("Check:") == 1


def test_grey_is_what_another_config_beats() -> None:
    out = io.StringIO()
    view = report_view("net", (3, 8, 8), PLAN, ROWS, {}, [times()])
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(view)
    grey, lines = " \x1b[90m", out.getvalue().splitlines()
    found = [line for line in lines if line.startswith(grey)]
    assert len(found) == 3
    assert all("TF" in line for line in found[:2])  # as dear as FT and worse, in both tables
    assert "TT" in found[2]  # in the second one alone: slower than FT
    assert sum("Grey: " in line for line in lines) == 2


def test_the_document_holds_the_tables() -> None:
    document = report_document("net", (3, 8, 8), PLAN, ROWS, {}, [times()])
    (table,) = document["latency"]
    assert table["conditions"] == {
        "device": "A CPU",
        "threads": 2,
        "precision": "bf16",
        "batch": 1,
        "runtime": "torch 2.6",
    }
    assert table["prediction_error"] == pytest.approx(0.08)
    first, second, *_, last = table["configs"]
    assert (first["latency_ms"], first["source"]) == (20.0, "measured")
    assert (second["within_noise"], last["within_noise"]) == (True, False)
    assert "latency" not in report_document("net", (3, 8, 8), PLAN, ROWS, {})
