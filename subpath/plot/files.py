"""Pictures as files, and as a part of a page."""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PlotError
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture, as PNG or SVG by the file's ending; the same picture is the same file.

    Raises:
        PlotError: the ending is another one, or the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise PlotError(f"got {path} for a picture; expected a name that ends in .png or .svg")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with style.settings():
            figure.savefig(path, dpi=160, metadata=metadata)
    except OSError as error:
        raise PlotError(
            f"got an error while writing {path} ({error}); expected a place that can be written"
        ) from error


def svg_for_page(figure: Figure, name: str, title: str) -> str:
    """A picture as an ``<svg>`` element for a page, whose colours are the page's.

    Each colour of :mod:`subpath.plot.style` becomes a CSS variable (``#1b1b1f`` becomes
    ``var(--ink)``), and the paper is transparent.

    Args:
        figure: the picture.
        name: a word that no other picture of the page has, for its ids.
        title: what the picture shows, for those who do not see it.
    """
    text = io.StringIO()
    with style.settings():
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.S
    )  # its style is for all there is
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    for word in ("INK", "SOFT", "LINE", "FRONT", "BEATEN", "MANDATORY", "SKIPPABLE", "PAPER"):
        svg = svg.replace(getattr(style, word), f"var(--{word.lower()})")
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)  # it takes the width that the page has
    opening = f'<svg role="img" aria-labelledby="{name}-title" '
    head = head.replace("<svg ", opening, 1)
    return f'{head}><title id="{name}-title">{escape(title)}</title>{rest}'
