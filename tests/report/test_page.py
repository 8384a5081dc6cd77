"""The page: it needs nothing else, shows names as they are, and can be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

pytest.importorskip("matplotlib")

from subpath.choice import Conditions
from subpath.measure import ConfigLatency, LatencyTable, Part, Parts
from subpath.planning import Plan, StagePlan
from subpath.report import ConfigRow, page
from subpath.skip import SkipConfig

EVIL = "</title><script src=http://evil.example/x.js>\"'&$x_1$"
PLAN = Plan(
    stages=tuple(
        StagePlan(name, (f"{name}.0", f"{name}.1"), (f"{name}.1",), (8, 8, 8), 1)
        for name in (EVIL, "layer2")
    ),
    twin_norms=(),
    opened=(),
)
PARTS = Parts((Part(EVIL, 0, 400, 200), Part("layer2", 1, 200, 100), Part("fc", None, 100)), 1000)
FIGURES = {"FF": (4.0, 77.0), "TF": (3.0, 75.0), "FT": (3.0, 76.0), "TT": (2.0, 74.0)}
ROWS = [ConfigRow(skip, g, g / 4, 1000, top1) for skip, (g, top1) in FIGURES.items()]
TIMES = LatencyTable(
    Conditions(EVIL, 2, "fp32", 1, "torch 2.6"),
    ((1, 3, 8, 8),),
    15,
    tuple(
        ConfigLatency(SkipConfig(s), 5 * g, (5 * g, 5 * g), None, None, 20 - 5 * g, (1.0, 2.0))
        for s, (g, _) in FIGURES.items()
    ),
)


class Reader(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture(scope="module")
def read() -> Reader:
    reader = Reader()
    reader.feed(page(EVIL, (3, 8, 8), PLAN, PARTS, ROWS, {EVIL: 3}, [TIMES]))
    reader.close()
    assert reader.open == []
    return reader


def test_it_needs_nothing_and_runs_nothing(read: Reader) -> None:
    assert {tag for tag, _ in read.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "image"}
    )
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert str(value).startswith("#"), (tag, value)
            assert "url(" not in str(value) or "url(#" in str(value)
    policies = [a for t, a in read.elements if t == "meta" and a.get("http-equiv")]
    assert "default-src 'none'" in str(policies[0]["content"])


def test_names_are_shown_as_they_are(read: Reader) -> None:
    assert read.text.count(EVIL) >= 6  # title, heading, drawing, letters, conditions, uncounted


def test_every_config_is_in_every_table_and_plot(read: Reader) -> None:
    assert sum(tag == "svg" for tag, _ in read.elements) == 3
    for skip in FIGURES:
        assert len(re.findall(rf"\b{skip}\b", read.text)) >= 4
    assert sum(tag == "table" for tag, _ in read.elements) == 2
    assert sum(a.get("class") == "grey" for t, a in read.elements if t == "tr") == 2  # TF, twice


def test_it_can_be_read_aloud(read: Reader) -> None:
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in read.elements:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-labelledby"] in ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert sum(tag == "caption" for tag, _ in read.elements) == 2


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_stand_out_in_light_and_dark() -> None:
    css = files("subpath.report").joinpath("page.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", css, re.S):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
        paper = luminance(colours["paper"])
        for name, needed in {
            **dict.fromkeys(("ink", "soft"), 4.5),  # text
            **dict.fromkeys(("front", "beaten", "mandatory", "skippable"), 3.0),  # graphics
        }.items():
            other = luminance(colours[name])
            contrast = (max(paper, other) + 0.05) / (min(paper, other) + 0.05)
            assert contrast >= needed, (name, contrast)
    assert css.count(":root {") == 2
