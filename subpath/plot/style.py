"""Colours and fonts of all pictures, and matplotlib itself, which only pictures need."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..errors import PlotError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Each colour once: a page puts a variable of its own in the place of each.
INK = "#1b1b1f"
SOFT = "#62626a"
LINE = "#d5d5db"
FRONT = "#0b5cad"
BEATEN = "#8b8b93"
MANDATORY = "#2e7d55"
SKIPPABLE = "#a86400"
PAPER = "#fefeff"

SETTINGS: Any = {
    "font.family": ["DejaVu Sans Mono"],
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and scaled
    "svg.hashsalt": "subpath",  # the same picture is the same file
    "text.parse_math": False,  # names may hold any sign
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}


def settings() -> AbstractContextManager[None]:
    """While pictures are drawn and written: matplotlib with our fonts and colours."""
    from matplotlib import rc_context

    return rc_context(SETTINGS)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window.

    Raises:
        PlotError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            "got no matplotlib, which draws the pictures; expected it to be installed: "
            "pip install 'subpath[plot]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
