"""Which part of an ONNX graph each letter of the skip config decides about.

The graph computes both sides of each choice, and a ``Where`` node takes one: choices are data flow,
so plain questions about who reads what tell which nodes a config does not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..errors import ExportError

Letters = Mapping[ir.Value, int]
"""The boolean scalars that choose, and the stage of each."""

Needs = Mapping[ir.Node, frozenset[tuple[int, bool]]]
"""For each node that some config needs, the letters that all of those configs share."""

_MOST_LETTERS = 3  # a segment under n letters is written 2**n times
_SMALL = 16  # elements: a shape, an exponent, but no weights
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclass
class Segment:
    """Nodes that run in one branch or another.

    Attributes:
        letters: the stages that decide about them.
        nodes: in execution order.
        last: the last that the letters decide about; all that the segment reads comes before it.
    """

    letters: frozenset[int]
    nodes: list[ir.Node]
    last: ir.Node


def letter_of(node: ir.Node, letters: Letters) -> int | None:
    """The stage whose letter the node chooses by; ``None`` if it is no choice."""
    condition = node.inputs[0] if node.op_type == "Where" else None
    return None if condition is None else letters.get(condition)


def check_choices(nodes: Iterable[ir.Node], letters: Letters) -> None:
    """Refuse graphs where letters do more than to choose, or that branch by themselves.

    Raises:
        ExportError: with the kind of node.
    """
    for node in nodes:
        if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
            raise ExportError(
                f"got a network with control flow of its own (an ONNX {node.op_type} node); "
                "expected straight-line code for --skip runtime. Export one config instead"
            )
        read = [place for place, value in enumerate(node.inputs) if value in letters]
        if read and (node.op_type != "Where" or read != [0]):
            raise ExportError(
                f"got an ONNX {node.op_type} node that computes with the skip config; expected "
                "choices alone, which is how this library's versions of torch export them. Export "
                "one config instead"
            )


def needs(graph: ir.Graph, letters: Letters) -> Needs:
    """What each node is needed for; nodes that no config needs are left out.

    A node that is read by one side of a choice alone is needed for one value of its letter.
    """
    found = {value: frozenset[tuple[int, bool]]() for value in graph.outputs}
    result: dict[ir.Node, frozenset[tuple[int, bool]]] = {}
    for node in reversed(graph):
        wanted = [found[value] for value in node.outputs if value in found]
        if not wanted:
            continue
        own = result[node] = frozenset.intersection(*wanted)
        letter = letter_of(node, letters)
        for place, value in enumerate(node.inputs):
            if value is not None and value not in letters:
                need = own if letter is None else own | {(letter, place == 1)}
                found[value] = found[value] & need if value in found else need
    return result


def find_segments(nodes: Sequence[ir.Node], needed: Needs, letters: Letters) -> list[Segment]:
    """Cut the nodes into segments, as few as possible; what no letter touches is left out.

    Args:
        nodes: those that are needed, in execution order.
        needed: what for.
        letters: the scalars that choose.

    Raises:
        ExportError: too many letters decide about one value.
    """
    segments = _runs(nodes, needed, letters)
    taken = {node for segment in segments for node in segment.nodes}
    for segment in segments:
        _take_in_what_comes_before(segment, nodes, taken)
    for segment in segments:
        _take_in_what_comes_after(segment, nodes, taken)
    return segments


def _runs(nodes: Iterable[ir.Node], needed: Needs, letters: Letters) -> list[Segment]:
    """Nodes in a row that the same letters decide about, with what lies between them."""
    found: list[Segment] = []
    between: list[ir.Node] = []
    for node in nodes:
        own = letter_of(node, letters)
        deciding = frozenset(stage for stage, _ in needed[node])
        deciding |= set() if own is None else {own}
        if not deciding:
            between.append(node)
            continue
        if len(deciding) > _MOST_LETTERS:
            raise ExportError(
                f"got a network where {len(deciding)} letters of the skip config decide about one "
                f"value; expected at most {_MOST_LETTERS} for --skip runtime. Export one config "
                "instead"
            )
        if found and found[-1].letters == deciding:
            found[-1].nodes += [*between, node]
            found[-1].last = node
        else:
            found.append(Segment(deciding, [node], node))
        between = []
    return found


def _take_in_what_comes_before(
    segment: Segment, nodes: Sequence[ir.Node], taken: set[ir.Node]
) -> None:
    """Add the nodes that only the segment reads: a runtime fuses them with what follows."""
    own = set(segment.nodes)
    for node in reversed(nodes[: nodes.index(segment.nodes[0])]):
        users = {use.node for value in node.outputs for use in value.uses()}
        leaves = any(value.is_graph_output() for value in node.outputs)
        if node not in taken and users <= own and not leaves:
            own.add(node)
            taken.add(node)
            segment.nodes.insert(0, node)


def _take_in_what_comes_after(
    segment: Segment, nodes: Sequence[ir.Node], taken: set[ir.Node]
) -> None:
    """Add the nodes that read nothing but the segment, and no weights: activations, say."""
    own = {value for node in segment.nodes for value in node.outputs}
    for node in nodes[nodes.index(segment.last) + 1 :]:
        read = [value for value in node.inputs if value is not None and not _is_small(value)]
        if node not in taken and read and own.issuperset(read):
            own.update(node.outputs)
            taken.add(node)
            segment.nodes.append(node)


def _is_small(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.size <= _SMALL
