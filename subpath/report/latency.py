"""The latency of skip configs, with what it holds for, what was predicted and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..choice import Cost, MeasuredTable
from ..skip import SkipConfig
from .formatting import config_name, many

if TYPE_CHECKING:
    from ..measure import ConfigLatency, LatencyTable

BEATEN = "another config is at least as accurate"


def latency_view(table: LatencyTable, known: MeasuredTable) -> RenderableType:
    """One line for each config of ``known``, and what the figures hold for."""
    entries = [table[config.skip] for config in known.configs]
    with_top1 = any(config.top1 is not None for config in known.configs)
    with_memory = any(entry.peak_memory_mib is not None for entry in entries)
    lines = Table(header_style="bold", box=box.SIMPLE_HEAD)
    lines.add_column("skip config", no_wrap=True)
    lines.add_column("ms", justify="right", no_wrap=True)
    lines.add_column("middle half", no_wrap=True)
    lines.add_column("of super", justify="right", no_wrap=True)
    if with_memory:
        lines.add_column("MiB", justify="right", no_wrap=True)
    if with_top1:
        lines.add_column("top-1, %", justify="right", no_wrap=True)
    grey = beaten(known, "latency_ms")
    for config, entry in zip(known.configs, entries, strict=True):
        cells: list[RenderableType] = [
            config_name(config.skip, config.skip in grey),
            shown_ms(entry),
            spread(entry),
            f"{entry.latency_ms / table.configs[0].latency_ms:.1%}",
        ]
        if with_memory:
            memory = entry.peak_memory_mib
            cells.append("" if memory is None else f"{memory:.1f}")
        if with_top1:
            cells.append("" if config.top1 is None else f"{config.top1:.2f}")
        lines.add_row(*cells, style="bright_black" if config.skip in grey else "")
    heading = Text.assemble(("Latency", "bold"), f"  {table.conditions}")
    return Group(heading, lines, Text(check(table), "dim"))


def shown_ms(entry: ConfigLatency) -> str:
    """The time in four digits; ``~`` marks a prediction, ``≈`` a difference within the noise."""
    predicted = "~" if entry.source == "predicted" else ""
    return f"{predicted}{_digits(entry.latency_ms)}{' ≈' if entry.within_noise else '  '}"


def spread(entry: ConfigLatency) -> str:
    """Between which times the middle half of the measurements lies."""
    if entry.quartiles_ms is None:
        return "predicted"
    return " to ".join(map(_digits, entry.quartiles_ms))


def check(table: LatencyTable) -> str:
    """How often was measured, and how far off predictions were."""
    said = f"{many(table.rounds, 'round')} of all measured configs in turns."
    for entry in table.checked[:1] if len(table.checked) == 1 else ():
        assert entry.predicted_ms is not None
        assert entry.predicted_interval_ms is not None
        low, high = map(_digits, entry.predicted_interval_ms)
        said += (
            f" Check: {entry.skip} was predicted to take {_digits(entry.predicted_ms)} ms ({low} "
            f"to {high}) and took {_digits(entry.latency_ms)} ms, so the prediction is "
            f"{entry.prediction_error:+.1%} off."
        )
    if len(table.checked) > 1:
        said += (
            f" Predictions from the stages skipped alone would be off by at most "
            f"{table.prediction_error:.1%}, over {len(table.checked)} configs."
        )
    return said


def legend(shown: Sequence[tuple[LatencyTable, MeasuredTable]]) -> list[str]:
    """What the columns and marks of these tables mean."""
    entries = [table[config.skip] for table, known in shown for config in known.configs]
    lines = [
        "ms: median time of one call; middle half: half of the measurements lie there; of super: "
        "share of the super-net's time."
    ]
    if any(entry.source == "predicted" for entry in entries):
        lines.append(
            "~: predicted, as the super-net's time less what each skipped stage saves when it is "
            "skipped alone."
        )
    if any(entry.within_noise for entry in entries):
        lines.append("≈: the difference from the super-net is within the noise (95 %).")
    if any(entry.peak_memory_mib is not None for entry in entries):
        lines.append("MiB: what torch held on the device at most, all weights included.")
    if any(beaten(known, "latency_ms") for _, known in shown):
        lines.append(f"Grey: {BEATEN} and takes no longer.")
    return lines


def beaten(known: MeasuredTable, cost: Cost) -> frozenset[SkipConfig]:
    """The configs of known accuracy that are not on the front of one cost."""
    accurate = frozenset(config.skip for config in known.configs if config.top1 is not None)
    return accurate - known.front(cost)


def _digits(milliseconds: float) -> str:
    """Four digits where there are as many before the point, two behind it at least."""
    return f"{milliseconds:.2f}" if milliseconds >= 10 else f"{milliseconds:.3f}"
