"""The table of skip configs: a rich view for people, a plain document for ``--json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..choice import MeasuredConfig, MeasuredTable
from ..measure import shapes_as_document
from ..skip import SkipConfig
from .formatting import bar, config_name, many, metric_title, millions, significant, title
from .latency import BEATEN, beaten, latency_view, legend

if TYPE_CHECKING:
    from ..measure import InputShapes, LatencyTable
    from ..planning import Plan

REMARK = (
    "GMACs: 10^9 multiply-adds for one input, one multiply-add counted as one; "
    "papers print them as GFLOPs."
)


@dataclass(frozen=True)
class ConfigRow:
    """One line of the table of skip configs; what is ``None`` is left out.

    Attributes:
        skip: the skip config.
        gmacs: multiply-adds for one input, in units of 1e9.
        ratio: share of the super-net's multiply-adds, 0 to 1.
        params: how many parameters the config uses.
        top1: top-1 accuracy in percent.
        metrics: other metrics by name.
    """

    skip: str
    gmacs: float
    ratio: float | None = None
    params: int | None = None
    top1: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def report_document(
    model: str,
    shapes: InputShapes,
    plan: Plan,
    rows: Sequence[ConfigRow],
    uncounted: Mapping[str, int],
    latencies: Sequence[LatencyTable] = (),
) -> dict[str, Any]:
    """The JSON document of ``subpath report``."""
    document = {
        "model": model,
        **shapes_as_document(shapes),
        "stages": [stage.name for stage in plan.stages],
        "configs": [_config(row) for row in rows],
        "uncounted_operators": dict(uncounted),
    }
    if latencies:
        document["latency"] = [table.to_dict() for table in latencies]
    return document


def report_view(
    model: str,
    shapes: InputShapes,
    plan: Plan,
    rows: Sequence[ConfigRow],
    uncounted: Mapping[str, int],
    latencies: Sequence[LatencyTable] = (),
) -> RenderableType:
    """The skip configs as tables, with what the letters stand for and what is not counted."""
    letters = Table.grid(padding=(0, 2))
    for number, stage in enumerate(plan.stages, 1):
        letters.add_row(
            Text(f"letter {number}", "dim"),
            Text(stage.name, "bold cyan"),
            Text(f"T skips {len(stage.skippable)} of {many(len(stage.blocks), 'block')}"),
        )
    total = 2 ** len(plan.stages)
    parts: list[RenderableType] = [
        title(model, shapes, plan),
        Padding(letters, (0, 0, 0, 2)),
        config_table(rows),
        *remarks(rows),
    ]
    if len(rows) < total:
        parts.append(Text(f"{len(rows)} of {total} skip configs; --all lists all.", "dim"))
    if uncounted:
        names = ", ".join(f"{name} x{count}" for name, count in uncounted.items())
        parts.append(Text(f"Not counted (calls in the super-net): {names}.", "dim"))
    timed = [(table, known(rows, table)) for table in latencies]
    for table, times in timed:
        parts += [Text(), latency_view(table, times)]
    parts += [Text(line, "dim") for line in (legend(timed) if timed else ())]
    return Group(*parts)


def remarks(rows: Sequence[ConfigRow]) -> list[Text]:
    """What stands below the table."""
    lines = [Text(REMARK, "dim")]
    if beaten(known(rows), "gmacs"):
        lines.append(Text(f"Grey: {BEATEN} and needs no more multiply-adds.", "dim"))
    return lines


def known(rows: Sequence[ConfigRow], latency: LatencyTable | None = None) -> MeasuredTable:
    """The rows, and times of them, as the table to choose from."""
    configs = []
    for row in rows:
        timed = latency[row.skip] if latency is not None else None
        configs.append(
            MeasuredConfig(
                skip=SkipConfig(row.skip),
                gmacs=row.gmacs,
                latency_ms=timed.latency_ms if timed else None,
                latency_from=timed.source if timed else None,
                top1=row.top1,
            )
        )
    return MeasuredTable(tuple(configs), latency.conditions if latency is not None else None)


def config_table(rows: Sequence[ConfigRow]) -> Table:
    """One line for each skip config, with the columns that are known for any of them."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("skip config", no_wrap=True)
    table.add_column("GMACs", justify="right", no_wrap=True)
    with_ratio = any(row.ratio is not None for row in rows)
    with_params = any(row.params is not None for row in rows)
    with_top1 = any(row.top1 is not None for row in rows)
    if with_ratio:
        table.add_column("of super-net", no_wrap=True)
    if with_params:
        table.add_column("params, M", justify="right", no_wrap=True)
    if with_top1:
        table.add_column("top-1, %", justify="right", no_wrap=True)
    further = dict.fromkeys(name for row in rows for name in row.metrics)
    for metric in further:
        table.add_column(metric_title(metric), justify="right", no_wrap=True)
    grey = beaten(known(rows), "gmacs")
    for row in rows:
        name = config_name(row.skip, row.skip in grey)
        cells: list[RenderableType] = [name, significant(row.gmacs)]
        if with_ratio:
            cells.append("" if row.ratio is None else bar(row.ratio))
        if with_params:
            cells.append("" if row.params is None else millions(row.params))
        if with_top1:
            cells.append("" if row.top1 is None else f"{row.top1:.2f}")
        cells += [f"{row.metrics[m]:.2f}" if m in row.metrics else "" for m in further]
        table.add_row(*cells, style="bright_black" if row.skip in grey else "")
    return table


def _config(row: ConfigRow) -> dict[str, Any]:
    entry: dict[str, Any] = {"skip": str(row.skip), "gmacs": row.gmacs, "macs_ratio": row.ratio}
    if row.params is not None:
        entry["params_m"] = row.params / 1e6
    if row.top1 is not None:
        entry["top1"] = row.top1
    return entry
