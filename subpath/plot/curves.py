"""All configs in one picture: what each costs and what that buys, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from .names import Box, place_names
from .panels import Panel, Point
from .style import BEATEN, FRONT, INK, LINE, PAPER, SOFT, new_figure, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

NAME_SIZE = 7.5
MARKER = 5.0
MOST_NAMES = 64
NAMES_ON_LONG_FRONT = 32


def curve_figure(panels: Sequence[Panel], title: str = "") -> Figure:
    """Draw panels side by side.

    Filled points are measured or counted, hollow ones predicted; grey ones are beaten by another.
    Where there are more than 64 points, only those on the front are named, and of a long front 32.

    Raises:
        PlotError: matplotlib is not installed.
    """
    figure = new_figure(7.2 * len(panels), 5.4)
    with settings():
        figure.set_facecolor(PAPER)
        if title:
            figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=INK)
        for number, panel in enumerate(panels, 1):
            _draw(figure.add_subplot(1, len(panels), number), panel)
        figure.draw_without_rendering()  # settles where the axes are, and so where names can be
        figure.set_layout_engine("none")
        for axes, panel in zip(figure.axes, panels, strict=True):
            _name(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.13)
    axes.plot(
        [point.x for point in panel.front],
        [point.y for point in panel.front],
        color=FRONT,
        linewidth=1.2,
        label="front: no other config is better",
    )
    for on_front, predicted, words in (
        (True, False, None),
        (True, True, None),
        (False, False, "beaten by another"),
        (False, True, None),
    ):
        chosen = [p for p in panel.points if (p.on_front, p.predicted) == (on_front, predicted)]
        colour = FRONT if on_front else BEATEN
        axes.plot(
            [point.x for point in chosen],
            [point.y for point in chosen],
            "o",
            color=colour,
            markerfacecolor=PAPER if predicted else colour,
            markersize=MARKER,
            label=words if chosen else None,
        )
    if any(point.predicted for point in panel.points):
        axes.plot([], [], "o", color=SOFT, markerfacecolor=PAPER, ms=MARKER, label="predicted")
    axes.legend(loc="lower right", fontsize=NAME_SIZE, frameon=False, labelcolor=INK)


def _name(axes: Axes, panel: Panel) -> None:
    """Write the names where they hide nothing, in the units of the screen."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    unit = figure.dpi / 72
    named = _named(panel)
    places = axes.transData.transform([(point.x, point.y) for point in named])
    centres = [(float(x), float(y)) for x, y in places]
    texts = [_text(point) for point in named]
    sizes = [_size(text, unit) for text in texts]
    frame = axes.get_window_extent()
    boxes = place_names(
        centres,
        sizes,
        _box(frame),
        MARKER * 0.6 * unit,
        [*_along_front(axes, panel), *_legend(axes)],
    )
    back = axes.transData.inverted()
    for point, text, box, centre in zip(named, texts, boxes, centres, strict=True):
        middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        x, y = back.transform(middle)
        axes.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            fontsize=NAME_SIZE,
            color=INK if point.on_front else SOFT,
            linespacing=1.1,
        )
        edge = (
            min(max(centre[0], box.left), box.right),
            min(max(centre[1], box.bottom), box.top),
        )
        if max(abs(edge[0] - centre[0]), abs(edge[1] - centre[1])) > 8 * unit:
            ends = back.transform([edge, centre])
            axes.plot(ends[:, 0], ends[:, 1], color=LINE, linewidth=0.8, zorder=1)


def _named(panel: Panel) -> list[Point]:
    """The points whose names find room: all, those on the front, or of these evenly some."""
    if len(panel.points) <= MOST_NAMES:
        return list(panel.points)
    front = panel.front
    count = len(front) if len(front) <= MOST_NAMES else NAMES_ON_LONG_FRONT
    return [front[round(i * (len(front) - 1) / max(count - 1, 1))] for i in range(count)]


def _along_front(axes: Axes, panel: Panel) -> list[Box]:
    """The line of the front, as small boxes in a row."""
    ends = axes.transData.transform([(point.x, point.y) for point in panel.front])
    boxes = []
    for (x, y), (next_x, next_y) in pairwise(ends.tolist()):
        count = max(1, int(math.dist((x, y), (next_x, next_y)) / 3))
        for number in range(count):
            at_x, at_y = x + (next_x - x) * number / count, y + (next_y - y) * number / count
            boxes.append(Box(at_x - 1, at_y - 1, at_x + 1, at_y + 1))
    return boxes


def _legend(axes: Axes) -> list[Box]:
    legend = axes.get_legend()
    return [] if legend is None else [_box(legend.get_window_extent())]


def _box(extent: Bbox) -> Box:
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)


def _text(point: Point) -> str:
    """Names of one place, two in a line."""
    names = point.names
    shown = names if len(names) <= 8 else (*names[:7], f"+{len(names) - 7}")
    return "\n".join(" ".join(shown[i : i + 2]) for i in range(0, len(shown), 2))


def _size(text: str, unit: float) -> tuple[float, float]:
    """Width and height of a text in a font whose signs are all 0.602 of its size wide."""
    lines = text.split("\n")
    return (
        (max(map(len, lines)) * 0.602 * NAME_SIZE + 2) * unit,
        (len(lines) * 1.2 * NAME_SIZE + 1) * unit,
    )
