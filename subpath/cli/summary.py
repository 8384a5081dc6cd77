"""The result of a run, as a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .output import show, show_json

if TYPE_CHECKING:
    from ..finetune import Summary


def show_summary(summary: Summary, directory: Path, json: bool) -> None:
    """Print metrics and GMACs of each skip config."""
    if json:
        show_json(summary.to_dict())
        return
    from rich.console import Group
    from rich.text import Text

    from ..report import ConfigRow, config_table, remarks

    full = {c.gmacs for c in summary.configs if set(c.skip) == {"F"}}
    rows = [
        ConfigRow(
            c.skip,
            c.gmacs,
            ratio=c.gmacs / min(full) if full else None,
            top1=c.top1,
            metrics={name: value for name, value in c.metrics.items() if name != "top1"},
        )
        for c in summary.configs
    ]
    title = Text.assemble((summary.model, "bold"), f"  on validation data, from {directory}")
    show(Group(title, config_table(rows), *remarks(rows)))
