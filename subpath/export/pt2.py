"""Files of torch.export, which torch loads and compiles without this library."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ..adaptive.model import AdaptiveModel
from ..checkpoint.files import write_atomically
from ..errors import ExportError
from ..progress import OnProgress, no_progress
from ..skip import SkipConfig
from .check import largest_difference
from .record import Exported, Tensor
from .source import Source, cause, check_place, source


def to_torch(
    model: AdaptiveModel,
    path: str | os.PathLike[str],
    skip: str,
    *,
    example_input: Any = None,
    batch: int | None = None,
    on_progress: OnProgress = no_progress,
) -> Exported:
    """Write one sub-network as torch.export's ``.pt2``.

    ``torch.export.load(path).module()`` gives it back as a module, with weights of its own and
    without this library. It is compared with the model on random inputs before it gets its name.

    Args:
        model: in eval mode; it is not changed.
        path: the file; replaced if it is there.
        skip: the config.
        example_input: a tensor, or a tuple of all inputs, whose height and width the file is to
            take; default: those of the conversion.
        batch: a fixed batch size; default: free.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Raises:
        ExportError: the network cannot be exported, or the file computes something else; nothing
            is written then.
        SkipConfigError: there is no such config.
    """
    target = Path(path)
    check_place(target)
    config = SkipConfig(skip, len(model.stages))
    taken = source(model, example_input, batch)
    on_progress("exporting with torch.export", 0, None)
    program = _program(taken, config)
    loaded: list[torch.nn.Module] = []
    differences: list[float] = []

    def run(_: SkipConfig, inputs: tuple[torch.Tensor, ...]) -> Sequence[torch.Tensor]:
        with torch.no_grad():
            return tree_leaves(loaded[0](*inputs))

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch warns of names that do not end in .pt2
            torch.export.save(program, file)
        with temporary.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded.append(torch.export.load(file).module())
        differences.append(largest_difference(taken, (config,), run, on_progress))

    write_atomically(target, save)
    with torch.no_grad():
        outputs = tree_leaves(loaded[0](*taken.inputs))
    names = ("output",) if len(outputs) == 1 else (f"output_{n}" for n in range(len(outputs)))
    return Exported(
        path=target,
        format="torch",
        skip=str(config),
        inputs=tuple(map(_tensor, taken.names, taken.inputs, [taken.free] * len(taken.inputs))),
        outputs=tuple(map(_tensor, names, outputs, [taken.free] * len(outputs))),
        size=target.stat().st_size,
        difference=differences[0],
        checked=(str(config),),
    )


def _program(taken: Source, config: SkipConfig) -> torch.export.ExportedProgram:
    module = taken.model.subnet(config, example_input=taken.inputs)
    dimensions = {0: torch.export.Dim("batch")} if taken.free else None
    shapes = tuple(dimensions for _ in taken.inputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own insides
            program = torch.export.export(module, taken.inputs, dynamic_shapes=shapes)
    except Exception as error:  # networks are refused in many ways
        raise ExportError(
            f"got a network that torch.export does not export: {cause(error)}. Expected one whose "
            "forward it can follow; if the batch size is at fault, give --batch N"
        ) from error
    for part in (program.graph_module, *program.graph_module.modules()):
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths of files on this machine
    return program


def _tensor(name: str, value: torch.Tensor, free: bool) -> Tensor:
    shape = ("batch", *value.shape[1:]) if free else tuple(value.shape)
    return Tensor(name, str(value.dtype).removeprefix("torch."), shape)
