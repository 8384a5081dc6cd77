"""How a network is cut: a tree for people, a plain document for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..measure import shapes_as_document
from .formatting import many, times, title

if TYPE_CHECKING:
    from ..measure import InputShapes
    from ..planning import Plan, StagePlan


def inspect_document(model: str, shapes: InputShapes, plan: Plan) -> dict[str, Any]:
    """The JSON document of ``subpath inspect``."""
    return {
        "model": model,
        **shapes_as_document(shapes),
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
        "patches": [asdict(patch) for patch in plan.patches],
        "additions": [asdict(addition) for addition in plan.additions],
        "run": plan.run,
        "why": plan.why,
        "opaque": [{"path": item.path, "reason": item.reason} for item in plan.opaque],
    }


def inspect_view(model: str, shapes: InputShapes, plan: Plan) -> RenderableType:
    """The network as a tree: stages, blocks, mandatory and skippable sub-paths, twin norms."""
    tree = Tree(title(model, shapes, plan))
    for number, stage in enumerate(plan.stages):
        count = many(len(stage.blocks), "block")
        heading = Text.assemble((stage.name, "bold cyan"), f"  {count}, output ")
        heading.append(times(stage.output_shape))
        branch = tree.add(heading)
        branch.add(_labelled("mandatory", _ranges(stage.mandatory), "green"))
        branch.add(_labelled("skippable", _ranges(stage.skippable), "yellow"))
        twins = _twins_of(plan, number)
        if twins:
            branch.add(_labelled(f"{len(twins)} twin norms", _norms(stage, twins), "magenta"))
    if plan.run == "in place":
        branch = tree.add(Text.assemble(("runs in place", "bold"), ", read from one run:"))
        for reason in plan.why.split("; "):
            branch.add(Text(reason))
    if plan.opaque:
        count = many(len(plan.opaque), "module")
        branch = tree.add(Text.assemble((f"{count} called whole", "bold"), ", not looked into"))
        for reason in dict.fromkeys(item.reason for item in plan.opaque):
            paths = [item.path for item in plan.opaque if item.reason == reason]
            branch.add(Text.assemble((_ranges(paths), "bold"), f": {reason}"))
    return tree


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
