"""What came out of a sweep, as a few lines or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .output import show, show_json

if TYPE_CHECKING:
    from ..sweep.record import Record

STYLES = {"converted": "green", "refused": "yellow", "failed": "bold red", "wrong": "bold red"}


def verdict(record: Record) -> str:
    """One word for how a network fared, a key of :data:`STYLES`: wrong if a check does not hold."""
    if record.wrong:
        return "wrong"
    return "refused" if record.outcome == "no-residual" else record.outcome


def troubles(record: Record) -> list[str]:
    """What went wrong with a network."""
    if record.outcome == "failed":
        return [f"failed: {record.reason}"]
    return [f"wrong, {check}: {why}" for check, why in record.wrong.items()]


def show_sweep(records: Sequence[Record], results: Path, json: bool) -> None:
    """Print how many networks were converted, and all that went wrong."""
    counts = Counter(map(verdict, records))
    if json:
        show_json({**_numbers(counts), "results": str(results), "troubles": _troubles(records)})
        return
    from rich.console import Group
    from rich.text import Text

    ratios = [record.ratio for record in records if record.ratio is not None]
    counted = Text(", ").join(
        Text(f"{count} {word}", STYLES[word] if count else "dim")
        for word, count in _numbers(counts).items()
    )
    lines = [Text.assemble((f"{len(records)} networks", "bold"), ": ", counted)]
    if ratios:
        lines.append(
            Text(f"base-nets need {min(ratios):.0%} to {max(ratios):.0%} of the multiply-adds")
        )
    for name, found in _troubles(records).items():
        lines += [Text.assemble((name, "bold"), f"  {trouble}") for trouble in found]
    lines.append(Text(f"Records are in {results}.", "dim"))
    show(Group(*lines))


def _numbers(counts: Counter[str]) -> dict[str, int]:
    return {word: counts[word] for word in STYLES}


def _troubles(records: Sequence[Record]) -> dict[str, list[str]]:
    return {record.name: found for record in records if (found := troubles(record))}
