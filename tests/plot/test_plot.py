"""Pictures: what is on them, and that nothing hides a name."""

from __future__ import annotations

import random
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg

from subpath.choice import Conditions, MeasuredConfig, MeasuredTable
from subpath.errors import PlotError
from subpath.measure import Part, Parts
from subpath.planning import Plan, StagePlan
from subpath.plot import curve_figure, panels_of, save_figure, stage_figure, svg_for_page
from subpath.plot.names import Box, place_names
from subpath.skip import skip_configs

SIGNS = "a <b> & $x_1$"  # markup and mathematics, to be shown as they are


def table(stages: int, *, top1: bool = True, latency: bool = True) -> MeasuredTable:
    """Hand-made figures: stage i saves i + 1, and skipping costs accuracy, some more."""
    luck = random.Random(0)
    configs = []
    for skip in skip_configs(stages):
        saved = sum(i + 1 for i in skip.skipped)
        alone = skip.count("T") in (0, 1, stages)
        configs.append(
            MeasuredConfig(
                skip,
                gmacs=20 - saved,
                latency_ms=30 - 1.2 * saved if latency else None,
                latency_from=("measured" if alone else "predicted") if latency else None,
                top1=80 - saved / 4 - luck.random() if top1 else None,
            )
        )
    return MeasuredTable(tuple(configs), Conditions(SIGNS, 2, "fp32", 8, "torch"))


def test_panels_hold_all_that_is_known() -> None:
    known = table(3)
    work, time = panels_of(known)
    for panel, cost in ((work, "gmacs"), (time, "latency_ms")):
        assert panel.y_label == "top-1 accuracy, %"
        shown = {name: point for point in panel.points for name in point.names}
        assert set(shown) == {config.skip for config in known.configs}
        for config in known.configs:
            point = shown[config.skip]
            assert (point.x, point.y) == (getattr(config, cost), config.top1)
            assert point.on_front == (config.skip in known.front(cost))
        assert [p.x for p in panel.front] == sorted(p.x for p in panel.front)
    assert not any(point.predicted for point in work.points)
    assert {name for p in time.points if p.predicted for name in p.names} == {"TTF", "TFT", "FTT"}
    assert str(known.conditions) in time.x_label


def test_without_accuracy_it_is_the_share_of_the_work() -> None:
    (panel,) = panels_of(table(3, top1=False, latency=False))
    assert {point.names: point.y for point in panel.points} == {
        ("FFF",): 100.0,
        ("TFF",): 95.0,
        ("FTF",): 90.0,
        ("FFT", "TTF"): 85.0,  # one place, two names
        ("TFT",): 80.0,
        ("FTT",): 75.0,
        ("TTT",): 70.0,
    }
    assert "share of the super-net" in panel.y_label


PLACES = st.tuples(st.integers(0, 1000), st.integers(0, 700))


@given(st.lists(PLACES, min_size=1, max_size=24), st.booleans())
def test_no_name_hides_another_or_a_marker(points: list[tuple[int, int]], long: bool) -> None:
    frame = Box(-100, -100, 1100, 800)
    size = (60.0, 24.0) if long else (38.0, 12.0)
    boxes = place_names(points, [size] * len(points), frame, 4.0)
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))
    for box in boxes:
        assert not box.outside(frame)
        for x, y in points:
            assert box.overlap(Box(x - 4, y - 4, x + 4, y + 4)) == 0


@pytest.mark.parametrize("stages", [4, 5])
def test_the_names_on_the_picture_do_not_touch(stages: int) -> None:
    known = table(stages)
    figure = curve_figure(panels_of(known), SIGNS)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        names = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
        shown = {word for name in names for word in name.split()}
        assert shown == {config.skip for config in known.configs}
        for one, other in combinations(names.values(), 2):
            assert not one.overlaps(other)


def test_of_a_front_of_hundreds_some_are_named() -> None:
    """Without accuracies every config is on the front of the multiply-adds."""
    configs = [
        MeasuredConfig(skip, gmacs=1000 - sum(2**i for i in skip.skipped))
        for skip in skip_configs(9)
    ]
    figure = curve_figure(panels_of(MeasuredTable(tuple(configs))))
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    names = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
    assert len(names) == 32
    assert {"F" * 9, "T" * 9} <= set(names)
    assert not any(one.overlaps(other) for one, other in combinations(names.values(), 2))


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    for number in (1, 2):
        figure = curve_figure(panels_of(table(2)), SIGNS)
        for suffix in ("png", "svg"):
            save_figure(figure, tmp_path / "new" / f"{number}.{suffix}")
    assert (tmp_path / "new/1.png").read_bytes() == (tmp_path / "new/2.png").read_bytes()
    assert (tmp_path / "new/1.svg").read_bytes() == (tmp_path / "new/2.svg").read_bytes()
    text = "".join(ElementTree.parse(tmp_path / "new/1.svg").getroot().itertext())
    assert SIGNS in text
    with pytest.raises(PlotError, match=r"\.png or \.svg"):
        save_figure(figure, tmp_path / "picture.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(PlotError, match="while writing"):
        save_figure(figure, tmp_path / "file" / "picture.png")


PLAN = Plan(
    stages=(
        StagePlan("layer1", ("layer1.0", "layer1.1"), ("layer1.1",), (8, 8, 8), 1),
        StagePlan(SIGNS, tuple(f"b.{i}" for i in range(5)), ("b.1", "b.3", "b.4"), (8, 4, 4), 1),
    ),
    twin_norms=(),
    opened=(),
)
PARTS = Parts((Part("stem", None, 100), Part("layer1", 0, 500, 250), Part(SIGNS, 1, 100, 50)), 1000)


def test_a_network_as_its_stages() -> None:
    figure = stage_figure(SIGNS, (3, 32, 32), PLAN, PARTS)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert {"stem", "layer1", "10.0%", "50.0% + 25.0%", "10.0% + 5.0%"} <= set(texts)
    assert texts.count(SIGNS) == 2
    arcs = [patch for patch in axes.patches if type(patch).__name__ == "PathPatch"]
    assert len(arcs) == 3  # one around each run of skippable blocks


def test_a_picture_for_a_page() -> None:
    svg = svg_for_page(stage_figure(SIGNS, (3, 32, 32), PLAN, PARTS), "stages", SIGNS)
    root = ElementTree.fromstring(svg)
    assert root.get("width") is None
    assert root.get("viewBox")
    assert root[0].text == SIGNS
    assert root.get("aria-labelledby") == root[0].get("id") == "stages-title"
    assert "var(--ink)" in svg
    assert "#1b1b1f" not in svg
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("stages-") for name in ids)
    for word in ("<script", "<image", "@import", "<style", "<?xml", "<!doctype", "<metadata"):
        assert word not in svg.lower()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"subpath\[plot\]"):
        curve_figure(panels_of(table(2)), "title")
