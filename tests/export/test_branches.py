"""ONNX graphs made by hand: what is put into branches, and what they compute."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from subpath.errors import ExportError
from subpath.export.branches import branch

FLOAT, BOOL = ir.TensorType(ir.DataType.FLOAT), ir.TensorType(ir.DataType.BOOL)


class Builder:
    """A graph on one vector ``x`` and boolean scalars; each node has a name to ask for it by."""

    def __init__(self, letters: int) -> None:
        self.x = ir.Value(name="x", shape=ir.Shape([3]), type=FLOAT)
        self.letters = [
            ir.Value(name=f"letter{n}", shape=ir.Shape([]), type=BOOL) for n in range(letters)
        ]
        self.nodes: list[ir.Node] = []

    def put(self, kind: str, *inputs: ir.Value) -> ir.Value:
        name = f"{kind}{len(self.nodes)}"
        output = ir.Value(name=name, shape=ir.Shape([3]), type=FLOAT)
        self.nodes.append(ir.Node("", kind, inputs, outputs=[output], name=name))
        return output

    def model(self, *outputs: ir.Value) -> ir.Model:
        graph = ir.Graph(
            [self.x, *self.letters], outputs, nodes=self.nodes, opset_imports={"": 18}, name="hand"
        )
        return ir.Model(graph, ir_version=10)

    def run(self, model: ir.Model, letters: tuple[bool, ...]) -> list[np.ndarray]:
        content = ir.to_proto(model).SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        given = {f"letter{n}": np.array(letter) for n, letter in enumerate(letters)}
        return session.run(None, {"x": X} | given)


X = np.array([0.3, -1.2, 2.0], dtype=np.float32)


def kinds(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph]


def test_each_side_of_a_choice_goes_into_its_branch() -> None:
    b = Builder(1)
    shared = b.put("Tanh", b.x)
    chosen = b.put("Where", b.letters[0], b.put("Sin", shared), b.put("Cos", shared))
    model = b.model(b.put("Concat", chosen))
    model.graph[-1].attributes["axis"] = ir.AttrInt64("axis", 0)
    branch(model.graph, b.letters)
    (decide,) = (node for node in model.graph if node.op_type == "If")
    assert "Where" not in kinds(model.graph)
    sides = [decide.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    assert "Sin" in kinds(sides[0])
    assert "Cos" not in kinds(sides[0])
    assert "Cos" in kinds(sides[1])
    assert "Sin" not in kinds(sides[1])
    assert np.allclose(b.run(model, (True,)), np.sin(np.tanh(X)), atol=1e-6)
    assert np.allclose(b.run(model, (False,)), np.cos(np.tanh(X)), atol=1e-6)


def test_a_choice_inside_a_choice() -> None:
    """One letter skips a part in which another chooses."""
    b = Builder(2)
    inner = b.put("Where", b.letters[1], b.put("Sin", b.x), b.put("Cos", b.x))
    outer = b.put("Where", b.letters[0], b.x, b.put("Exp", inner))
    model = b.model(outer)
    branch(model.graph, b.letters)
    for first, second in product((True, False), repeat=2):
        expected = X if first else np.exp(np.sin(X) if second else np.cos(X))
        assert np.allclose(b.run(model, (first, second)), expected, atol=1e-6)


def test_values_that_leave_by_several_ways() -> None:
    """A skipped value that is also an output, a value that two stages read, and twice the same."""
    b = Builder(2)
    stem = b.put("Tanh", b.x)
    first = b.put("Where", b.letters[0], stem, b.put("Sin", stem))
    second = b.put("Where", b.letters[1], first, b.put("Add", first, stem))
    model = b.model(first, second, stem)
    branch(model.graph, b.letters)
    for one, two in product((True, False), repeat=2):
        t = np.tanh(X)
        f = t if one else np.sin(t)
        got = b.run(model, (one, two))
        assert np.allclose(got, [f, f if two else f + t, t], atol=1e-6)


def test_stages_side_by_side() -> None:
    """Their nodes alternate, so no stage is one stretch."""
    b = Builder(2)
    left, right = b.put("Sin", b.x), b.put("Cos", b.x)
    for _ in range(2):
        left = b.put("Where", b.letters[0], left, b.put("Exp", left))
        right = b.put("Where", b.letters[1], right, b.put("Tanh", right))
    model = b.model(b.put("Add", left, right))
    branch(model.graph, b.letters)
    for one, two in product((True, False), repeat=2):
        a = np.sin(X) if one else np.exp(np.exp(np.sin(X)))
        c = np.cos(X) if two else np.tanh(np.tanh(np.cos(X)))
        assert np.allclose(b.run(model, (one, two)), a + c, atol=1e-5)


def test_letters_that_do_more_than_choose_are_refused() -> None:
    b = Builder(1)
    b.put("Not", b.letters[0])
    model = b.model(b.put("Sin", b.x))
    with pytest.raises(ExportError, match="Not node that computes with the skip config"):
        branch(model.graph, b.letters)


def test_four_letters_on_one_value_are_refused() -> None:
    b = Builder(4)
    value = b.put("Sin", b.x)
    for letter in b.letters:
        value = b.put("Where", letter, b.x, b.put("Exp", value))
    with pytest.raises(ExportError, match="4 letters of the skip config decide about one"):
        branch(b.model(value).graph, b.letters)
