"""All that a report tells as one page of HTML that needs nothing else: drawing, plots, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from ..measure import shapes_in_words
from .configs import REMARK, ConfigRow, known
from .formatting import many, millions, percent, significant, times
from .latency import BEATEN, beaten, check, legend, shown_ms, spread

if TYPE_CHECKING:
    from ..choice import MeasuredTable
    from ..measure import InputShapes, LatencyTable, Parts
    from ..planning import Plan

# Nothing is loaded and nothing runs, whatever a name on the page may hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    model: str,
    shapes: InputShapes,
    plan: Plan,
    parts: Parts,
    rows: Sequence[ConfigRow],
    uncounted: Mapping[str, int],
    latencies: Sequence[LatencyTable] = (),
) -> str:
    """The page, for light and dark screens of any width.

    Raises:
        PlotError: matplotlib is not installed.
    """
    stages = len(plan.stages)
    lead = (
        f"{_called_with(shapes)}, {parts.macs / 1e9:.4g} GMACs, {many(stages, 'stage')}, "
        f"{2**stages} skip configs, {many(len(plan.twin_norms), 'twin norm')}."
    )
    body = [
        f"<header><h1>{escape(model)}</h1><p>{escape(lead)}</p></header>",
        _drawing(model, shapes, plan, parts),
        _curves(rows, latencies),
        _configs(plan, rows, uncounted),
        *(_latency(table, known(rows, table), i) for i, table in enumerate(latencies)),
        _legend([(table, known(rows, table)) for table in latencies]),
    ]
    style = files("subpath.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(model)} - skip configs</title>\n<style>\n{style}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(filter(None, body)) + "\n</main>\n</body>\n</html>\n"
    )


def _called_with(shapes: InputShapes) -> str:
    if isinstance(shapes, Mapping):
        return f"Inputs {shapes_in_words(shapes)}"
    return f"Input {times(shapes)}"


def _drawing(model: str, shapes: InputShapes, plan: Plan, parts: Parts) -> str:
    from ..plot import stage_figure, svg_for_page

    told = [
        f"{part.name}: {percent(parts.share(part.mandatory))}"
        + (f" and skippable {percent(parts.share(part.skippable))}" if part.skippable else "")
        for part in parts.parts
    ]
    figure = stage_figure(model, shapes, plan, parts)
    svg = svg_for_page(figure, "stages", f"Share of the multiply-adds. {'; '.join(told)}")
    return _section("Where depth can go", _wide(svg, "Drawing of the stages"))


def _curves(rows: Sequence[ConfigRow], latencies: Sequence[LatencyTable]) -> str:
    from ..plot import curve_figure, panels_of, svg_for_page

    counted = panels_of(known(rows))
    timed = [panel for table in latencies for panel in panels_of(known(rows, table))[-1:]]
    pictures = []
    for number, panel in enumerate((*counted, *timed)):
        front = ", ".join(" ".join(point.names) for point in panel.front)
        told = f"{panel.y_label} against {panel.x_label}, the front from the cheapest on: {front}"
        svg = svg_for_page(curve_figure([panel]), f"curve{number}", told)
        pictures.append(_wide(svg, f"Plot {number + 1} of all configs"))
    return _section("What each config costs and gives", "".join(pictures))


def _configs(plan: Plan, rows: Sequence[ConfigRow], uncounted: Mapping[str, int]) -> str:
    letters = "".join(
        f"<li><b>{escape(stage.name)}</b>: T skips {len(stage.skippable)} of "
        f"{many(len(stage.blocks), 'block')}</li>"
        for stage in plan.stages
    )
    grey = beaten(known(rows), "gmacs")
    with_top1 = any(row.top1 is not None for row in rows)
    head = ["skip config", "GMACs", "of super-net", "params, M", *(["top-1, %"] * with_top1)]
    lines = []
    for row in rows:
        cells = [
            significant(row.gmacs),
            "" if row.ratio is None else _bar(row.ratio),
            "" if row.params is None else millions(row.params),
        ]
        if with_top1:
            cells.append("" if row.top1 is None else f"{row.top1:.2f}")
        lines.append(_line(row.skip, cells, row.skip in grey))
    notes = [REMARK]
    if grey:
        notes.append(f"Grey: {BEATEN} and needs no more multiply-adds.")
    if uncounted:
        names = ", ".join(f"{name} x{count}" for name, count in uncounted.items())
        notes.append(f"Not counted (calls in the super-net): {names}.")
    content = (
        f'<p>The letters, from the left:</p><ol class="letters">{letters}</ol>'
        f"{_table('Multiply-adds, parameters and accuracy', head, lines)}{_notes(notes)}"
    )
    return _section("Skip configs", content)


def _latency(table: LatencyTable, figures: MeasuredTable, number: int) -> str:
    with_top1 = any(config.top1 is not None for config in figures.configs)
    memory = any(entry.peak_memory_mib is not None for entry in table.configs)
    head = ["skip config", "ms", "middle half", "of super"]
    head += ["MiB"] * memory + ["top-1, %"] * with_top1
    grey = beaten(figures, "latency_ms")
    lines = []
    for config in figures.configs:
        entry = table[config.skip]
        cells = [
            escape(shown_ms(entry).rstrip()),
            spread(entry),
            _bar(entry.latency_ms / table.configs[0].latency_ms),
        ]
        if memory:
            peak = entry.peak_memory_mib
            cells.append("" if peak is None else f"{peak:.1f}")
        if with_top1:
            cells.append("" if config.top1 is None else f"{config.top1:.2f}")
        lines.append(_line(config.skip, cells, config.skip in grey))
    title = "Latency" if number == 0 else f"Latency, {number + 1}"
    content = _table(str(table.conditions), head, lines) + _notes([check(table)])
    return _section(title, content)


def _legend(shown: Sequence[tuple[LatencyTable, MeasuredTable]]) -> str:
    return _notes(legend(shown)) if shown else ""


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _wide(content: str, label: str) -> str:
    """Content that keeps its size on a narrow screen, and is moved sideways there."""
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'
    )


def _table(caption: str, head: Sequence[str], lines: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(word)}</th>' for word in head)
    whole = (
        f"<table><caption><span>{escape(caption)}</span></caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return _wide(whole, caption)


def _line(skip: str, cells: Sequence[str], grey: bool) -> str:
    """One row; ``cells`` are HTML."""
    name = {"F": " super-net", "T": " base-net"}.get(skip[0]) if len(set(skip)) == 1 else None
    words = f"<code>{escape(skip)}</code>{name or ''}"
    if grey:
        words += '<span class="unseen"> (beaten by another)</span>'
    row = ' class="grey"' if grey else ""
    return (
        f'<tr{row}><th scope="row">{words}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    )


def _bar(share: float) -> str:
    width = min(max(share, 0.0), 1.0)
    return (
        f'<span class="bar" aria-hidden="true"><span style="width:{width:.1%}"></span></span> '
        f'<span class="share">{share:.1%}</span>'
    )


def _notes(lines: Sequence[str]) -> str:
    return "".join(f'<p class="note">{escape(line)}</p>' for line in lines)
