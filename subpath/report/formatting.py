"""Words and pieces that several views share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..measure import shapes_in_words

if TYPE_CHECKING:
    from ..measure import InputShapes
    from ..planning import Plan


def title(model: str, shapes: InputShapes, plan: Plan) -> Text:
    """What is shown: the network, its inputs, and how much there is to choose from."""
    stages = len(plan.stages)
    end = "\n" if isinstance(shapes, Mapping) else ", "
    text = Text.assemble((model, "bold"), f"\n{shapes_in_words(shapes)}{end}")
    text.append(f"{many(stages, 'stage')}, {2**stages} skip configs, ")
    text.append(many(len(plan.twin_norms), "twin norm"))
    if plan.patches:
        text.append(f", {many(len(plan.patches), 'patch', 'patches')}")
    if plan.additions:
        text.append(f", {many(len(plan.additions), 'addition')}")
    return text


METRICS = {
    "top1": ("top-1", "%"),
    "miou": ("mIoU", "%"),
    "map": ("mAP", "%"),
    "map50": ("mAP50", "%"),
    "f1": ("F1", "%"),
}


def metric_title(name: str) -> str:
    """The head of a metric's column: ``mIoU, %``."""
    said, unit = METRICS.get(name, (name, ""))
    return f"{said}, {unit}" if unit else said


def metric_value(name: str, value: float) -> str:
    """A metric with its unit: ``89.61 %``, ``7.26 perplexity``."""
    _, unit = METRICS.get(name, (name, ""))
    return f"{value:.2f} {unit or name}"


def config_name(skip: str, grey: bool = False) -> Text:
    """A skip config with its letters in colour, or in grey; super-net and base-net by name."""
    text = Text()
    for letter in skip:
        text.append(letter, "" if grey else "yellow" if letter == "T" else "green")
    if set(skip) == {"F"}:
        text.append(" super-net", "dim")
    elif set(skip) == {"T"}:
        text.append(" base-net", "dim")
    return text


def bar(ratio: float) -> Table:
    """A share as a bar and as a number."""
    grid = Table.grid(padding=(0, 1))
    shown = ProgressBar(1.0, ratio, width=10, complete_style="cyan", finished_style="cyan")
    grid.add_row(shown, Text(f"{ratio:6.1%}"))
    return grid


def significant(gmacs: float) -> str:
    """Four digits for large and small networks alike."""
    if gmacs >= 1 or gmacs == 0:
        return f"{gmacs:.3f}"
    return f"{gmacs:.{min(3 - math.floor(math.log10(gmacs)), 9)}f}"  # nine: single multiply-adds


def millions(params: int) -> str:
    """A number of parameters in millions: two digits behind the point, more of a small network."""
    return f"{params / 1e6:.2f}" if params >= 1e6 else f"{params / 1e6:.4f}"


def times(shape: Sequence[int]) -> str:
    """A shape as ``3x224x224``."""
    return "x".join(str(n) for n in shape)


def many(count: int, word: str, words: str | None = None) -> str:
    """``1 block``, ``2 blocks``; ``words`` is a plural of another form."""
    return f"{count} {word if count == 1 else words or f'{word}s'}"


def percent(share: float) -> str:
    """A share with one digit behind the point; what is something is not shown as nothing."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"
