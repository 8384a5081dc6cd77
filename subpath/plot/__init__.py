"""Pictures: what each skip config costs and achieves, and where in a network depth can go.

Drawn with matplotlib, of the extra ``plot``.
"""

from .curves import curve_figure
from .files import save_figure, svg_for_page
from .panels import Panel, Point, panels_of
from .sensitivity import sensitivity_figure
from .stages import stage_figure

__all__ = [
    "Panel",
    "Point",
    "curve_figure",
    "panels_of",
    "save_figure",
    "sensitivity_figure",
    "stage_figure",
    "svg_for_page",
]
