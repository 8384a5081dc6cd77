"""What each block is worth, along the depth of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .style import BEATEN, INK, MANDATORY, PAPER, SKIPPABLE, SOFT, new_figure, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..measure import Sensitivity


def sensitivity_figure(model: str, found: Sensitivity) -> Figure:
    """Draw the loss that each block takes away, and what it does to it to first order.

    Raises:
        PlotError: matplotlib is not installed.
    """
    figure = new_figure(max(6.0, 1.6 + 0.28 * len(found.blocks)), 4.6)
    with settings():
        figure.set_facecolor(PAPER)
        upper, lower = figure.subplots(2, sharex=True)
        places = range(len(found.blocks))
        upper.bar(places, [block.added_loss for block in found.blocks], color=SKIPPABLE, width=0.7)
        upper.set_ylabel("added loss")
        upper.set_title(f"{model}: each block skipped alone", loc="left", fontsize=10, color=INK)
        slopes = [block.first_order or 0.0 for block in found.blocks]
        colours = [MANDATORY if slope < 0 else BEATEN for slope in slopes]
        lower.bar(places, slopes, color=colours, width=0.7)
        lower.set_ylabel("F(h) . dL/dh")
        lower.set_xticks(list(places), [block.name for block in found.blocks], rotation=90)
        for axes in (upper, lower):
            axes.axhline(0, color=SOFT, linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="x", labelsize=7)
    return figure
