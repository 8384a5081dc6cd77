"""From choices to branches: in the ONNX graph, what a letter leaves out is not computed.

The graph that comes in computes both sides of each choice. The one that goes out has an ``If`` for
each segment of the network that a letter decides about. A branch holds the whole segment as
straight-line code, with the norms of its letter; the weights belong to the outer graph, so each is
stored once. A runtime fuses in a branch what it fuses in the file of one config: an ``If`` for each
norm and each sub-path by itself would cut convolutions from their norms and activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .conditional_segments import Letters, check_choices, find_segments, letter_of, needs

Taken = Mapping[int, bool]
"""The letters that are known in a branch: stage, and whether it is skipped."""


def branch(graph: ir.Graph, letters: Sequence[ir.Value]) -> None:
    """Put what the letters choose into branches of ``If`` nodes; ``graph`` is changed.

    Args:
        graph: functional, in execution order, with a ``Where`` for each choice.
        letters: the boolean scalars that choose, one a stage.

    Raises:
        ExportError: the letters do more than to choose, or too many decide about one value.
    """
    stages = {letter: stage for stage, letter in enumerate(letters)}
    check_choices(graph, stages)
    needed = needs(graph, stages)
    graph.remove([node for node in graph if node not in needed], safe=True)
    for segment in find_segments(list(graph), needed, stages):
        own = set(segment.nodes)
        leaving = [
            value
            for node in segment.nodes
            for value in node.outputs
            if value.is_graph_output() or any(use.node not in own for use in value.uses())
        ]
        branches = _Branches(segment.nodes, leaving, letters, stages)
        decide = branches.decide(sorted(segment.letters), {})
        graph.insert_after(segment.last, decide)
        for old, new in zip(leaving, decide.outputs, strict=True):
            new.name, old.name = old.name, f"{old.name}/before"
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(segment.nodes, safe=True)


@dataclass(frozen=True)
class _Branches:
    """Writes one segment for each value of its letters.

    Attributes:
        nodes: of the segment.
        leaving: the values that are read elsewhere.
        letters: the scalars, in the order of the stages.
        stages: the stage of each.
    """

    nodes: Sequence[ir.Node]
    leaving: Sequence[ir.Value]
    letters: Sequence[ir.Value]
    stages: Letters

    def decide(self, unknown: Sequence[int], taken: Taken) -> ir.Node:
        """An ``If`` for the first unknown letter, around one for each that is left."""
        letter, *others = unknown
        outputs = [_like(value, taken) for value in self.leaving]
        branches = []
        for name, skipped in (("then_branch", True), ("else_branch", False)):
            now = {**taken, letter: skipped}
            graph = self._nested(others, now) if others else self._straight(now)
            branches.append(ir.AttrGraph(name, graph))
        name = f"skip_{letter}{_suffix(taken)}/{self.leaving[0].name}"
        return ir.Node("", "If", [self.letters[letter]], branches, outputs=outputs, name=name)

    def _nested(self, unknown: Sequence[int], taken: Taken) -> ir.Graph:
        node = self.decide(unknown, taken)
        return ir.Graph([], node.outputs, nodes=[node], name=node.name)

    def _straight(self, taken: Taken) -> ir.Graph:
        """The segment when all its letters are known."""
        stands_for: dict[ir.Value | None, ir.Value | None] = {}
        for node in self.nodes:
            letter = letter_of(node, self.stages)
            if letter is not None:
                value = node.inputs[1 if taken[letter] else 2]
                stands_for[node.outputs[0]] = stands_for.get(value, value)
        results = [stands_for.get(value, value) for value in self.leaving]
        copies: list[ir.Node] = []
        inside: dict[ir.Value | None, ir.Value | None] = {}
        for node in self._needed(results, stands_for):
            values = (stands_for.get(value, value) for value in node.inputs)
            inputs = [inside.get(value, value) for value in values]
            if node.op_type == "Conv":
                inputs[1:] = [_own(value, node, taken, copies) for value in inputs[1:]]
            outputs = [_like(value, taken) for value in node.outputs]
            attributes = node.attributes.values()
            name = f"{node.name}{_suffix(taken)}"
            copies.append(
                ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=name)
            )
            inside.update(zip(node.outputs, outputs, strict=True))
        given: list[ir.Value] = []
        for value, result in zip(self.leaving, results, strict=True):
            made = inside.get(result)
            if made is None or made in given:  # a branch gives out what it makes itself, once
                source = made or result
                made = _like(value, taken, "/out")
                copies.append(ir.Node("", "Identity", [source], outputs=[made], name=made.name))
            given.append(made)
        return ir.Graph([], given, nodes=copies, name=f"branch{_suffix(taken)}")

    def _needed(
        self,
        results: Sequence[ir.Value | None],
        stands_for: Mapping[ir.Value | None, ir.Value | None],
    ) -> list[ir.Node]:
        wanted = set(results)
        kept = []
        for node in reversed(self.nodes):
            if node.outputs[0] not in stands_for and not wanted.isdisjoint(node.outputs):
                kept.append(node)
                wanted.update(stands_for.get(value, value) for value in node.inputs)
        return kept[::-1]


def _own(
    value: ir.Value | None, user: ir.Node, taken: Taken, copies: list[ir.Node]
) -> ir.Value | None:
    """A weight of the outer graph as one that a runtime folds into the branch when it loads.

    ONNX Runtime brings convolutions into its fast layout only if their weights and biases are of
    the same graph; a reshape to the shape it has makes it a constant there, and costs no bytes.
    """
    if value is None or value.const_value is None:
        return value
    place = len(copies)
    name = f"{user.name}{_suffix(taken)}/{place}"
    shape = ir.Value(name=f"{name}/shape")
    tensor = ir.tensor(value.const_value.shape.numpy(), dtype=ir.DataType.INT64)
    attributes = [ir.AttrTensor("value", tensor)]
    own = ir.Value(name=name, shape=value.shape, type=value.type)
    copies.append(ir.Node("", "Constant", [], attributes, outputs=[shape], name=f"{name}/constant"))
    copies.append(ir.Node("", "Reshape", [value, shape], outputs=[own], name=name))
    return own


def _like(value: ir.Value, taken: Taken, ending: str = "") -> ir.Value:
    name = f"{value.name}{_suffix(taken)}{ending}"
    return ir.Value(name=name, shape=value.shape, type=value.type)


def _suffix(taken: Taken) -> str:
    return "".join(f"/{stage}{'T' if skipped else 'F'}" for stage, skipped in taken.items())
