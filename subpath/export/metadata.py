"""Names and metadata of an ONNX file: what it is, and nothing about the machine it was made on."""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx_ir as ir

from ..adaptive.model import AdaptiveModel
from ..checkpoint.versions import library_versions
from .record import Tensor


def name_ends(graph: ir.Graph, inputs: Sequence[str]) -> None:
    """Call inputs as the network's forward does, and outputs by their order."""
    single = len(graph.outputs) == 1
    for place, value in enumerate(graph.outputs):
        value.name = "output" if single else f"output_{place}"
    for name, value in zip(inputs, graph.inputs, strict=False):
        value.name = name


def describe(written: ir.Model, model: AdaptiveModel, skip: str) -> None:
    """Write the config, the stages and the versions; take away what the exporter wrote."""
    for node in ir.traversal.RecursiveGraphIterator(written.graph):
        node.metadata_props.clear()  # traces with paths of files
        node.doc_string = None
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.clear()
    stages = [
        {"letter": number, "stage": stage.name, "skips": list(stage.skippable)}
        for number, stage in enumerate(model.stages, 1)
    ]
    written.metadata_props.clear()
    written.graph.metadata_props.clear()
    written.metadata_props.update(
        {
            "subpath.skip": skip,
            "subpath.stages": json.dumps(stages),
            "subpath.libraries": json.dumps(library_versions()),
        }
    )


def tensor(value: ir.Value) -> Tensor:
    """The record of an input or output."""
    assert value.name is not None
    assert value.dtype is not None
    sizes = () if value.shape is None else value.shape
    shape = tuple(size if isinstance(size, int) else str(size) for size in sizes)
    return Tensor(value.name, str(value.dtype.numpy()), shape)
