"""``{rooms}``: the rooms of the package and who imports whom, drawn from the code as it is.

The order of the rooms is the one that ``tests/test_imports.py`` holds. Arrows that others imply
are left out: where ``cli`` imports ``report`` and that imports ``measure``, there is none from
``cli`` to ``measure``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path
from statistics import mean

import networkx as nx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "subpath"

WIDTH, LEFT, ROW, BOX, HIGH = 900, 210, 80, 106, 38


class Rooms(SphinxDirective):
    """The picture; each line of the content says what a layer is for, the top one first."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture, in the page itself, so that it takes the page's colours."""
        layers = [sorted(layer) for layer in reversed(order())]
        captions = [line.strip() for line in self.content if line.strip()]
        if len(captions) != len(layers):
            raise self.error(f"got {len(captions)} lines; expected one for each of {len(layers)}")
        return [nodes.raw("", drawing(layers, captions, imports()), format="html")]


def order() -> list[set[str]]:
    """The layers of rooms, lowest first."""
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER":
            layers: list[set[str]] = ast.literal_eval(node.value)
            return layers
    raise LookupError("tests/test_imports.py has no ORDER")


def imports() -> nx.DiGraph:
    """The rooms; an edge from who imports to what is imported, without those that others imply."""
    graph = nx.DiGraph()
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE)
        own = inside.parts[0].removesuffix(".py")
        if own.startswith("__"):
            continue
        graph.add_node(own)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == len(inside.parts):
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found = {name.partition(".")[0] for name in names} & rooms
                graph.add_edges_from((own, other) for other in found - {own})
    graph.remove_edges_from([("adaptive", "checkpoint")])  # model.save, the one call upwards
    reduced = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph)
    return reduced


def drawing(layers: list[list[str]], captions: list[str], graph: nx.DiGraph) -> str:
    """The picture as SVG."""
    place = dict(_places(layers, graph))
    height = ROW * len(layers)
    lines = [
        f'<div class="rooms"><svg class="rooms" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="The rooms of the package in layers; arrows show imports.">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    for number, caption in enumerate(captions):
        top = number * ROW
        shade = "layer odd" if number % 2 else "layer"
        lines.append(f'<rect class="{shade}" x="0" y="{top}" width="{WIDTH}" height="{ROW}"/>')
        lines.append(
            f'<text class="caption" x="12" y="{top + ROW / 2 + 4}">{escape(caption)}</text>'
        )
    for one, other in sorted(graph.edges):
        (x, y), (u, v) = place[one], place[other]
        if v == y:  # neighbours in a layer
            side = BOX / 2 if u > x else -BOX / 2
            lines.append(f'<path class="arrow" d="M{x + side} {y} {u - side} {v}"/>')
        else:
            start, end = y + HIGH / 2, v - HIGH / 2
            bend = (end - start) / 2
            curve = f"M{x} {start}C{x} {start + bend} {u} {end - bend} {u} {end}"
            lines.append(f'<path class="arrow" d="{curve}"/>')
    for room, (x, y) in place.items():
        corner = f'x="{x - BOX / 2}" y="{y - HIGH / 2}" width="{BOX}" height="{HIGH}"'
        kind = "folder" if (PACKAGE / room).is_dir() else "file"
        lines.append(f'<rect class="room {kind}" {corner} rx="6"/>')
        lines.append(f'<text class="name" x="{x}" y="{y + 4}">{escape(room)}</text>')
    return "\n".join([*lines, "</svg></div>"])


def _places(
    layers: list[list[str]], graph: nx.DiGraph
) -> Iterator[tuple[str, tuple[float, float]]]:
    """The middle of each room, which stands below those that import it as far as it can."""
    known: dict[str, tuple[float, float]] = {}
    for number, layer in enumerate(layers):
        step = (WIDTH - LEFT) / len(layer)

        def wanted(room: str) -> float:
            above = [known[r][0] for r in graph.predecessors(room) if r in known]
            return mean(above) if above else LEFT + (WIDTH - LEFT) / 2

        for index, room in enumerate(sorted(layer, key=lambda room: (wanted(room), room))):
            known[room] = LEFT + step * (index + 0.5), ROW * (number + 0.5)
    yield from known.items()


def setup(app: Sphinx) -> None:
    """Add the directive."""
    app.add_directive("rooms", Rooms)
