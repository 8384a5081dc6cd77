"""What is exported: a model on the CPU, inputs to trace and check it with, and where it goes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..adaptive.gates import GatedGraph
from ..adaptive.graph_model import GraphModel
from ..adaptive.internals import example_for, graphs_for, input_names, takes_any_batch
from ..adaptive.model import AdaptiveModel
from ..errors import ExportError, SubpathError

"""Is told in a few words what is done next."""


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        model: in eval mode, on the CPU, in float32.
        inputs: random, of the shapes to export for; a batch of two if it stays free.
        names: of the inputs.
        gated: the annotated graph for inputs of these shapes.
        free: whether the batch stays free.
    """

    model: GraphModel
    inputs: tuple[torch.Tensor, ...]
    names: tuple[str, ...]
    gated: GatedGraph
    free: bool

    def batch(self, size: int) -> tuple[torch.Tensor, ...]:
        """Other inputs, of another batch size if that is free."""
        return random_like(self.inputs, size if self.free else None, seed=size)


def source(model: AdaptiveModel, example_input: Any, batch: int | None) -> Source:
    """Check a model and make inputs for it.

    Args:
        model: it is not changed.
        example_input: a tensor or a tuple of tensors whose shapes count; default: those of the
            conversion.
        batch: a fixed batch size; ``None`` leaves it free.

    Raises:
        ExportError: the model cannot be exported as it is.
    """
    if not isinstance(model, GraphModel):
        raise ExportError(
            f"got a {type(model).__name__} that runs in place, whose forward decides in Python; "
            "expected one that runs from its graph, of which such a file is made. Export one "
            "depth: torch.export.export(model.subnet(skip), args, kwargs). It runs in place "
            f"because: {model.plan.why}"
        )
    if model.training:
        raise ExportError(
            "got a model in train mode; expected eval mode, as dropout and batch statistics have "
            "no place in an exported network: call model.eval() first"
        )
    if batch is not None and batch < 1:
        raise ExportError(f"got a batch of {batch}; expected 1 or more, or none to leave it free")
    weights = [*model.parameters(), *model.buffers()]
    kinds = {str(w.dtype).removeprefix("torch.") for w in weights if w.is_floating_point()}
    if kinds - {"float32"}:
        raise ExportError(
            f"got weights in {', '.join(sorted(kinds))}; expected float32, in which the file is "
            "compared with torch: call model.float() first, and quantise the file"
        )
    if any(w.is_meta for w in weights):
        raise ExportError("got a model without data (on the meta device); expected weights")
    if any(w.device.type != "cpu" for w in weights):
        model = copy.deepcopy(model).cpu()
    given = example_for(model, example_input).args
    others = sorted({type(value).__name__ for value in given if not _is_batch(value)})
    if others:
        raise ExportError(
            f"got a network that takes {', '.join(others)}; expected tensors with a batch in "
            "their first dimension, which is all that an exported file takes"
        )
    inputs = random_like(given, 2 if batch is None else batch, seed=0)
    try:
        gated = graphs_for(model, inputs)[False]
        fits_any = takes_any_batch(model, inputs)
    except SubpathError as error:
        shapes = ", ".join(str(list(value.shape)) for value in inputs)
        raise ExportError(
            f"got inputs of the shape {shapes} that the network cannot be traced with: {error}"
        ) from error
    if batch is None and not fits_any:
        raise ExportError(
            "got a network whose forward depends on the batch size; expected a fixed one for the "
            "file: --batch N, or batch=N in Python"
        )
    return Source(model, inputs, input_names(model), gated, batch is None)


def random_like(inputs: Sequence[Any], batch: int | None, seed: int) -> tuple[torch.Tensor, ...]:
    """Normal numbers of the same shapes but for the batch; whole numbers are repeated."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for value in inputs:
        size = value.shape[0] if batch is None else batch
        if value.is_floating_point():
            made.append(torch.randn(size, *value.shape[1:], generator=generator))
        else:
            made.append(value.cpu()[torch.arange(size) % value.shape[0]])
    return tuple(made)


def check_place(path: Path) -> None:
    """Refuse early what could not be written in the end.

    Raises:
        ExportError: there is no such directory, or the path is one.
    """
    if path.is_dir() or not path.parent.is_dir():
        what = "is a directory" if path.is_dir() else f"lies in {path.parent}, which is not there"
        raise ExportError(f"got the file {path}, which {what}; expected a file in a directory")


def cause(error: BaseException) -> str:
    """The first line of the error that an exporter's error comes from."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _is_batch(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0
