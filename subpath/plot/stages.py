"""A network as its stages: which blocks can be skipped, and their share of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..measure import InputShapes, Part, Parts, shapes_in_words
from ..planning import Plan
from .style import INK, LINE, MANDATORY, PAPER, SKIPPABLE, SOFT, new_figure, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME, BLOCKS, BAR, WIDTH = 0.0, 3.0, 7.6, 11.6


def stage_figure(model: str, shapes: InputShapes, plan: Plan, parts: Parts) -> Figure:
    """Draw one row for each part of the network, from its input down.

    A stage's row shows its blocks in the order in which they run, the skippable ones under the
    arc of their shortcut, and its share of the super-net's multiply-adds.

    Raises:
        PlotError: matplotlib is not installed.
    """
    rows = len(parts.parts)
    figure = new_figure(9.0, 0.5 * rows + 1.3)
    with settings():
        figure.set_facecolor(PAPER)
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(NAME - 0.1, WIDTH)
        axes.set_ylim(rows + 0.5, -1.25)
        axes.text(NAME, -0.95, model, fontsize=12, weight="bold", va="center")
        axes.text(
            NAME, -0.45, f"{shapes_in_words(shapes)}, {parts.macs / 1e9:.4g} GMACs", color=SOFT
        )
        axes.text(BAR, -0.45, "share of the MACs", color=SOFT)
        largest = max(part.mandatory + part.skippable for part in parts.parts)
        for row, part in enumerate(parts.parts):
            _row(axes, row + 0.25, part, plan, parts, (WIDTH - BAR - 1.5) / max(largest, 1))
        _key(axes, rows + 0.2)
    return figure


def percent(share: float) -> str:
    """A share with one digit behind the point, and not as nothing where it is something."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _row(axes: Axes, y: float, part: Part, plan: Plan, parts: Parts, scale: float) -> None:
    from matplotlib.patches import Rectangle

    end = BAR + scale * part.mandatory
    bars: list[tuple[float, int, str, str | None]] = [
        (BAR, part.mandatory, MANDATORY if part.stage is not None else SOFT, None)
    ]
    bars += [(end, part.skippable, SKIPPABLE, "////")] if part.skippable else []
    for x, macs, colour, hatch in bars:
        axes.add_patch(
            Rectangle(
                (x, y - 0.15),
                scale * macs,
                0.3,
                facecolor=PAPER if hatch else colour,
                edgecolor=colour,
                hatch=hatch,
                linewidth=0.8,
            )
        )
    share = percent(parts.share(part.mandatory))
    if part.skippable:
        share += f" + {percent(parts.share(part.skippable))}"
    axes.text(end + scale * part.skippable + 0.1, y, share, fontsize=8, va="center", color=INK)
    stage = part.stage is not None
    name = part.name if len(part.name) <= 30 else f"...{part.name[-27:]}"
    axes.text(
        NAME,
        y,
        name,
        fontsize=8,
        va="center",
        color=INK if stage else SOFT,
        weight="bold" if stage else "normal",
    )
    if part.stage is not None:
        _blocks(axes, y, part.stage, plan)


def _blocks(axes: Axes, y: float, number: int, plan: Plan) -> None:
    """The chain of blocks of a stage; an arc leads around each run of skippable ones."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    stage = plan.stages[number]
    longest = max(len(s.blocks) for s in plan.stages)
    room = (BAR - BLOCKS - 0.4) / max(longest, 6)
    width = 0.62 * room
    axes.plot(
        [BLOCKS - 0.3 * room, BLOCKS + len(stage.blocks) * room],
        [y, y],
        color=SOFT,
        lw=0.8,
        zorder=0,
    )
    skipped = [block in stage.skippable for block in stage.blocks]
    for place, skippable in enumerate(skipped):
        axes.add_patch(
            Rectangle(
                (BLOCKS + place * room, y - 0.15),
                width,
                0.3,
                facecolor=PAPER if skippable else MANDATORY,
                edgecolor=SKIPPABLE if skippable else MANDATORY,
                hatch="////" if skippable else None,
                linewidth=0.8,
            )
        )
        if skippable and (place == 0 or not skipped[place - 1]):
            last = place
            while last + 1 < len(skipped) and skipped[last + 1]:
                last += 1
            left = BLOCKS + place * room - 0.19 * room
            right = BLOCKS + last * room + width + 0.19 * room
            around = Path(
                [(left, y), (left, y - 0.42), (right, y - 0.42), (right, y)],
                [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
            )
            axes.add_patch(PathPatch(around, facecolor="none", edgecolor=SKIPPABLE, linewidth=1))


def _key(axes: Axes, y: float) -> None:
    from matplotlib.patches import Rectangle

    axes.plot([NAME, WIDTH], [y - 0.28, y - 0.28], color=LINE, lw=0.6)
    for x, colour, hatch, words in (
        (NAME, MANDATORY, None, "mandatory blocks"),
        (3.0, SKIPPABLE, "////", "skippable blocks, and their shortcut"),
        (BAR, SOFT, None, "around the stages"),
    ):
        axes.add_patch(
            Rectangle(
                (x, y - 0.1),
                0.2,
                0.2,
                facecolor=PAPER if hatch else colour,
                edgecolor=colour,
                hatch=hatch,
                linewidth=0.8,
            )
        )
        axes.text(x + 0.3, y, words, fontsize=8, va="center", color=INK)
