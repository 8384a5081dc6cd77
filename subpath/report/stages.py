"""A network as its stages, in the terminal: which blocks can be skipped, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..measure import shapes_as_document
from .formatting import percent, times, title

if TYPE_CHECKING:
    from ..measure import InputShapes, Part, Parts
    from ..planning import Plan

WIDTH = 24


def stages_view(model: str, shapes: InputShapes, plan: Plan, parts: Parts) -> RenderableType:
    """One line for each part of the network, from its input down."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("letter", justify="right", no_wrap=True)
    table.add_column("stage")
    table.add_column("blocks", overflow="fold")
    table.add_column("share of the MACs", no_wrap=True)
    largest = max(part.mandatory + part.skippable for part in parts.parts)
    for part in parts.parts:
        number = part.stage
        table.add_row(
            "" if number is None else str(number + 1),
            Text(part.name, "dim" if number is None else "bold cyan"),
            "" if number is None else _blocks(plan, number),
            Group(_bar(part, largest), _shares(part, parts)),
        )
    key = Text.assemble(
        ("■", "green"),
        " mandatory  ",
        ("□", "yellow"),
        " skippable: a T of this letter takes ",
        "it away",
    )
    work = Text(f"{parts.macs / 1e9:.4g} GMACs for one input", "dim")
    return Group(title(model, shapes, plan), work, table, key)


def stages_document(model: str, shapes: InputShapes, plan: Plan, parts: Parts) -> dict[str, Any]:
    """The JSON document of ``subpath draw``."""
    return {
        "model": model,
        **shapes_as_document(shapes),
        "gmacs": parts.macs / 1e9,
        "parts": [
            {
                "name": part.name,
                "letter": None if part.stage is None else part.stage + 1,
                "mandatory_gmacs": part.mandatory / 1e9,
                "skippable_gmacs": part.skippable / 1e9,
                "mandatory_share": parts.share(part.mandatory),
                "skippable_share": parts.share(part.skippable),
                **({} if part.stage is None else _paths(plan, part.stage)),
            }
            for part in parts.parts
        ],
    }


def _paths(plan: Plan, number: int) -> dict[str, Any]:
    stage = plan.stages[number]
    return {
        "mandatory": list(stage.mandatory),
        "skippable": list(stage.skippable),
        "output_shape": list(stage.output_shape),
    }


def _blocks(plan: Plan, number: int) -> Text:
    stage = plan.stages[number]
    text = Text()
    for block in stage.blocks:
        text.append(*(("□", "yellow") if block in stage.skippable else ("■", "green")))
    text.append(f"\n{times(stage.output_shape)}", "dim")
    return text


def _bar(part: Part, largest: int) -> Text:
    """Full and light signs, as many as the share has of the largest one."""
    whole = max(1, round(WIDTH * (part.mandatory + part.skippable) / max(largest, 1)))
    light = round(WIDTH * part.skippable / max(largest, 1))
    if part.skippable:
        light = min(max(light, 1), max(whole - 1, 1))
    style = "bright_black" if part.stage is None else "green"
    return Text.assemble(("█" * (whole - light), style), ("░" * light, "yellow"))


def _shares(part: Part, parts: Parts) -> Text:
    text = Text(percent(parts.share(part.mandatory)), "dim")
    if part.skippable:
        text.append(" + ")
        text.append(percent(parts.share(part.skippable)), "yellow")
    return text
