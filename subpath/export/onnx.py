"""ONNX files: one config, or one file for all of them."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..adaptive.internals import network_in
from ..adaptive.model import AdaptiveModel
from ..adaptive.runtime_graph import choosing_graph
from ..adaptive.subnet import straight_module
from ..checkpoint.files import write_atomically
from ..errors import ExportError
from ..progress import OnProgress, no_progress
from ..skip import SkipConfig
from .check import configs_to_check, largest_difference
from .record import RUNTIME, Exported
from .session import Session
from .source import Source, cause, check_place, source

if TYPE_CHECKING:
    import onnx_ir as ir

_OLDEST_OPSET = 18
_LARGEST = 2**31 - 2**26  # bytes of weights: a file of the format ends at two gibibytes


def to_onnx(
    model: AdaptiveModel,
    path: str | os.PathLike[str],
    skip: str = RUNTIME,
    *,
    example_input: Any = None,
    batch: int | None = None,
    opset: int | None = None,
    on_progress: OnProgress = no_progress,
) -> Exported:
    """Write a model as an ONNX file that runs without this library.

    With ``skip="runtime"`` the file holds every skip config over one set of weights. Its inputs are
    those of the network and ``skip``, a boolean vector with one element for each stage, in order:
    true skips the stage, as the letter ``T`` does. What a config skips is not computed.

    The file is compared with torch, on random inputs in ONNX Runtime, before it gets its name. Its
    metadata tells the config, the stages and the versions. Needs the extra ``onnx``.

    Args:
        model: in eval mode; it is not changed.
        path: the file; replaced if it is there.
        skip: a skip config, or ``"runtime"``.
        example_input: a tensor, or a tuple of all inputs, whose height and width the file is to
            take; default: those of the conversion. All sizes but the batch are fixed.
        batch: a fixed batch size; default: free.
        opset: version of the operators; default: torch's choice.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Returns:
        What was written, and the largest difference to torch.

    Raises:
        ExportError: the network cannot be exported, or the file computes something else; nothing
            is written then.
        SkipConfigError: ``skip`` is neither.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"got a request for an ONNX file without the packages {', '.join(missing)}; expected "
            "the extra onnx: pip install 'subpath[onnx]'"
        )
    from .metadata import describe, tensor  # onnx is known to be there

    _check_opset(opset)
    target = Path(path)
    check_place(target)
    config = None if skip == RUNTIME else SkipConfig(skip, len(model.stages))
    weights = sum(value.nbytes for value in model.state_dict().values())
    if weights > _LARGEST:
        raise ExportError(
            f"got {weights / 2**30:.1f} GiB of weights; expected less than 2 GiB, the most that "
            "one ONNX file holds"
        )
    if config is None and model.calibrated:
        raise ExportError(
            f"got a model in which {', '.join(model.calibrated)} have statistics of their own; "
            "expected none for a file of all configs, whose norms are chosen by single letters. "
            "Export these configs one by one, with skip"
        )
    taken = source(model, example_input, batch)
    on_progress("exporting with torch.onnx", 0, None)
    written = _single(taken, config, opset) if config is not None else _runtime(taken, opset)
    describe(written, model, skip)
    configs = configs_to_check(len(model.stages)) if config is None else (config,)
    differences: list[float] = []

    def save(temporary: Path) -> None:
        import onnx_ir as ir

        ir.save(written, temporary)
        session = Session(temporary, taken.names, config is None)
        differences.append(largest_difference(taken, configs, session.run, on_progress))

    write_atomically(target, save)
    return Exported(
        path=target,
        format="onnx",
        skip=skip,
        inputs=tuple(tensor(value) for value in written.graph.inputs),
        outputs=tuple(tensor(value) for value in written.graph.outputs),
        size=target.stat().st_size,
        difference=differences[0],
        checked=tuple(map(str, configs)),
    )


def _check_opset(opset: int | None) -> None:
    from onnx.defs import onnx_opset_version

    newest = onnx_opset_version()
    if opset is not None and not _OLDEST_OPSET <= opset <= newest:
        raise ExportError(
            f"got opset {opset}; expected one from {_OLDEST_OPSET}, the oldest that torch writes, "
            f"to {newest}, the newest of this version of onnx"
        )


def _single(taken: Source, config: SkipConfig, opset: int | None) -> ir.Model:
    from .metadata import name_ends

    module = taken.model.subnet(config, example_input=taken.inputs)
    model = _through_torch(module, taken, (), opset)
    name_ends(model.graph, taken.names)
    return model


def _runtime(taken: Source, opset: int | None) -> ir.Model:
    import onnx_ir as ir

    from .branches import branch
    from .metadata import name_ends

    stages = len(taken.model.stages)
    graph = choosing_graph(taken.gated, stages)
    module = straight_module(network_in(taken.model), graph, original={}, training=False)
    letters = tuple(torch.tensor(False) for _ in range(stages))  # one object would be one input
    model = _through_torch(module, taken, letters, opset)
    scalars = list(model.graph.inputs)[-stages:]
    branch(model.graph, scalars)
    vector = ir.Value(name="skip", shape=ir.Shape([stages]), type=ir.TensorType(ir.DataType.BOOL))
    for stage, scalar in reversed(list(enumerate(scalars))):
        place, chosen = ir.Value(name=f"skip/{stage}/place"), ir.Value(name=f"skip/{stage}")
        number = [ir.AttrInt64("value_int", stage)]
        constant = ir.Node("", "Constant", [], number, outputs=[place], name=place.name)
        gather = ir.Node("", "Gather", [vector, place], outputs=[chosen], name=chosen.name)
        model.graph.insert_before(model.graph[0], [constant, gather])
        scalar.replace_all_uses_with(chosen)
        model.graph.inputs.remove(scalar)
    model.graph.inputs.append(vector)
    name_ends(model.graph, taken.names)
    return model


def _through_torch(
    module: nn.Module, taken: Source, letters: tuple[torch.Tensor, ...], opset: int | None
) -> ir.Model:
    dimensions = {0: torch.export.Dim("batch")} if taken.free else None
    shapes = (*(dimensions for _ in taken.inputs), *(None for _ in letters))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own insides
            program = torch.onnx.export(
                module,
                (*taken.inputs, *letters),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                dynamic_shapes=shapes,
            )
    except Exception as error:  # networks are refused in many ways
        raise ExportError(
            f"got a network that torch.onnx does not export: {cause(error)}. Expected one whose "
            "forward torch.export can follow; if the batch size is at fault, give --batch N"
        ) from error
    assert program is not None
    made = program.model.opset_imports[""]
    if opset not in (None, made):
        raise ExportError(
            f"got opset {opset}, in which torch.onnx cannot write this network; expected "
            f"{made}, or none to leave the choice to torch"
        )
    return program.model
