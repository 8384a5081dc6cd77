"""What each block is worth, in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .formatting import many, percent

if TYPE_CHECKING:
    from ..measure import Sensitivity

WIDTH = 16


def sensitivity_view(model: str, found: Sensitivity) -> RenderableType:
    """One line for each block, in the order in which they run."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("block", overflow="fold")
    for name in ("MACs", "loss without it", "|F|/|h|", "F.dL/dh", "cosine"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("added loss", no_wrap=True)
    largest = max(max(block.added_loss, 0.0) for block in found.blocks)
    for block in found.blocks:
        refines = block.first_order is not None and block.first_order < 0
        table.add_row(
            block.name,
            percent(block.macs),
            f"{block.loss:.4f}",
            _number(block.relative_change, ".3f"),
            Text(_number(block.first_order, "+.4f"), "green" if refines else ""),
            _number(block.cosine, "+.3f"),
            _bar(block.added_loss, largest),
        )
    told = f": loss {found.loss:.4f} on {many(found.samples, 'input')}"
    title = Text.assemble((model, "bold"), told)
    key = Text("F.dL/dh below 0: the block refines, its branch goes down the gradient.", "dim")
    return Group(title, table, key)


def sensitivity_document(model: str, found: Sensitivity) -> dict[str, Any]:
    """The JSON document of ``subpath diagnose``."""
    return {"model": model, **found.to_dict()}


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _bar(added: float, largest: float) -> Text:
    length = round(WIDTH * max(added, 0.0) / largest) if largest > 0 else 0
    return Text.assemble(("█" * length, "yellow"), f" {added:+.4f}" if length else f"{added:+.4f}")
