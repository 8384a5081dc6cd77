"""What the commands show: rich trees and tables for people, plain documents for ``--json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from .plan import Plan, StagePlan

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
    """

    skip: str
    gmacs: float
    ratio: float | None = None
    params: int | None = None
    top1: float | None = None


def inspect_document(model: str, input_size: Sequence[int], plan: Plan) -> dict[str, Any]:
    """The JSON document of ``subpath inspect``."""
    return {
        "model": model,
        "input_size": list(input_size),
        "stages": [
            {
                "name": stage.name,
                "blocks": list(stage.blocks),
                "mandatory": list(stage.mandatory),
                "skippable": list(stage.skippable),
                "output_shape": list(stage.output_shape),
                "twin_norms": _twins_of(plan, number),
            }
            for number, stage in enumerate(plan.stages)
        ],
        "twin_norms": len(plan.twin_norms),
        "opaque": [{"path": item.path, "reason": item.reason} for item in plan.opaque],
    }


def report_document(
    model: str,
    input_size: Sequence[int],
    plan: Plan,
    rows: Sequence[ConfigRow],
    uncounted: Mapping[str, int],
) -> dict[str, Any]:
    """The JSON document of ``subpath report``."""
    return {
        "model": model,
        "input_size": list(input_size),
        "stages": [stage.name for stage in plan.stages],
        "configs": [_config(row) for row in rows],
        "uncounted_operators": dict(uncounted),
    }


def inspect_view(model: str, input_size: Sequence[int], plan: Plan) -> RenderableType:
    """The network as a tree: stages, blocks, mandatory and skippable sub-paths, twin norms."""
    tree = Tree(_title(model, input_size, plan))
    for number, stage in enumerate(plan.stages):
        count = _many(len(stage.blocks), "block")
        heading = Text.assemble((stage.name, "bold cyan"), f"  {count}, output ")
        heading.append(_times(stage.output_shape))
        branch = tree.add(heading)
        branch.add(_labelled("mandatory", _ranges(stage.mandatory), "green"))
        branch.add(_labelled("skippable", _ranges(stage.skippable), "yellow"))
        twins = _twins_of(plan, number)
        if twins:
            branch.add(_labelled(f"{len(twins)} twin norms", _norms(stage, twins), "magenta"))
    if plan.opaque:
        count = _many(len(plan.opaque), "module")
        branch = tree.add(Text.assemble((f"{count} called whole", "bold"), ", not looked into"))
        for reason in dict.fromkeys(item.reason for item in plan.opaque):
            paths = [item.path for item in plan.opaque if item.reason == reason]
            branch.add(Text.assemble((_ranges(paths), "bold"), f": {reason}"))
    return tree


def report_view(
    model: str,
    input_size: Sequence[int],
    plan: Plan,
    rows: Sequence[ConfigRow],
    uncounted: Mapping[str, int],
) -> RenderableType:
    """The skip configs as a table, with what the letters stand for and what is not counted."""
    letters = Table.grid(padding=(0, 2))
    for number, stage in enumerate(plan.stages, 1):
        letters.add_row(
            Text(f"letter {number}", "dim"),
            Text(stage.name, "bold cyan"),
            Text(f"T skips {len(stage.skippable)} of {_many(len(stage.blocks), 'block')}"),
        )
    total = 2 ** len(plan.stages)
    parts: list[RenderableType] = [
        _title(model, input_size, plan),
        Padding(letters, (0, 0, 0, 2)),
        config_table(rows),
        Text(REMARK, "dim"),
    ]
    if len(rows) < total:
        parts.append(Text(f"{len(rows)} of {total} skip configs; --all lists all.", "dim"))
    if uncounted:
        names = ", ".join(f"{name} x{count}" for name, count in uncounted.items())
        parts.append(Text(f"Not counted (calls in the super-net): {names}.", "dim"))
    return Group(*parts)


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
    for row in rows:
        cells: list[RenderableType] = [_config_name(row.skip), _significant(row.gmacs)]
        if with_ratio:
            cells.append("" if row.ratio is None else _bar(row.ratio))
        if with_params:
            cells.append("" if row.params is None else f"{row.params / 1e6:.2f}")
        if with_top1:
            cells.append("" if row.top1 is None else f"{row.top1:.2f}")
        table.add_row(*cells)
    return table


def _config(row: ConfigRow) -> dict[str, Any]:
    entry: dict[str, Any] = {"skip": str(row.skip), "gmacs": row.gmacs, "macs_ratio": row.ratio}
    if row.params is not None:
        entry["params_m"] = row.params / 1e6
    if row.top1 is not None:
        entry["top1"] = row.top1
    return entry


def _title(model: str, input_size: Sequence[int], plan: Plan) -> Text:
    stages = len(plan.stages)
    title = Text.assemble((model, "bold"), f"\ninput {_times(input_size)}, ")
    title.append(f"{_many(stages, 'stage')}, {2**stages} skip configs, ")
    title.append(_many(len(plan.twin_norms), "twin norm"))
    return title


def _labelled(label: str, text: str, style: str) -> Table:
    """A label and, beside it, a text that wraps in its own column."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=14)
    grid.add_column()
    grid.add_row(Text(label, style), Text(text))
    return grid


def _twins_of(plan: Plan, stage: int) -> list[str]:
    return [twin.path for twin in plan.twin_norms if twin.stage == stage]


def _norms(stage: StagePlan, twins: Sequence[str]) -> str:
    """The norms of blocks as ``norm1, norm2 in blocks.0 ... blocks.2``, others by their path."""
    owners = [_owner(path, stage.blocks) for path in twins]
    inside: dict[str, tuple[str, ...]] = {
        owner: tuple(p[len(owner) + 1 :] for p, o in zip(twins, owners, strict=True) if o == owner)
        for owner in owners
        if owner
    }
    parts = [path for path, owner in zip(twins, owners, strict=True) if not owner]
    for names, group in groupby(inside, key=inside.__getitem__):
        parts.append(f"{', '.join(names)} in {_ranges(list(group))}")
    return "; ".join(parts)


def _owner(path: str, blocks: Sequence[str]) -> str:
    """The block that holds the module at ``path``, or nothing."""
    return next((block for block in blocks if path.startswith(f"{block}.")), "")


def _ranges(paths: Sequence[str]) -> str:
    """Module paths, with rows of consecutive numbers as ``layer3.0 ... layer3.11``."""
    runs: list[list[str]] = []
    for path in paths:
        if runs and _follows(runs[-1][-1], path):
            runs[-1].append(path)
        else:
            runs.append([path])
    return ", ".join(f"{run[0]} ... {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _follows(first: str, second: str) -> bool:
    (one, _, i), (two, _, j) = first.rpartition("."), second.rpartition(".")
    return one == two and i.isdigit() and j.isdigit() and int(j) == int(i) + 1


def _config_name(skip: str) -> Text:
    text = Text()
    for letter in skip:
        text.append(letter, "yellow" if letter == "T" else "green")
    if set(skip) == {"F"}:
        text.append(" super-net", "dim")
    elif set(skip) == {"T"}:
        text.append(" base-net", "dim")
    return text


def _bar(ratio: float) -> Table:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(1.0, ratio, width=10, complete_style="cyan", finished_style="cyan")
    grid.add_row(bar, Text(f"{ratio:6.1%}"))
    return grid


def _significant(gmacs: float) -> str:
    """Four digits for large and small networks alike."""
    return f"{gmacs:.3f}" if gmacs >= 1 else f"{gmacs:.4f}"


def _times(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
