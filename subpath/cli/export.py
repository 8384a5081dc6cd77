"""``subpath export``: a file that runs without this library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CheckpointError, ExportError
from . import options
from .example import Example, as_example, parse_example
from .output import only_results_on_stdout, said, show_json
from .status import status_line

if TYPE_CHECKING:
    from ..adaptive.model import AdaptiveModel
    from ..export import Exported

_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


def export(
    model: options.ModelOrDirectory,
    skip: Annotated[
        str,
        typer.Option(
            metavar="TTFF|runtime",
            help="The skip config to export; or runtime, for one ONNX file that holds all configs "
            "and takes the config as an input.",
        ),
    ] = "runtime",
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="onnx|torch",
            help="ONNX (needs the extra 'onnx'), or a .pt2 of torch.export (one config only).",
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Default: named after network and config, in the current directory.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="dynamic|N", help="Batch size: dynamic, or fixed to N.")
    ] = "dynamic",
    opset: Annotated[
        int | None,
        typer.Option(metavar="N", help="ONNX opset version; default: torch's.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="With MODEL: the directory of a run, or a file with weights of the original "
            "network.",
            show_default=False,
        ),
    ] = None,
    input_size: options.InputSize = None,
    input_: options.Input = None,
    arg: options.ModelArguments = None,
    model_args: options.MoreArguments = None,
    groups: options.Groups = None,
    skippable: options.Skippable = None,
    blocks: options.Blocks = None,
    twin_norms: options.TwinNorms = "mandatory",
    json: options.Json = False,
) -> None:
    """Export a network to a file that runs without this library, and compare it with torch."""
    example = parse_example(input_size, input_)
    arguments = options.parse_arguments(arg, model_args)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)
    free = _batch(batch)
    if kind not in _ENDINGS:
        raise ExportError(f"got --format {kind!r}; expected onnx or torch")
    if kind == "torch" and skip == "runtime":
        raise ExportError(
            "got --format torch without a config; expected --skip and one letter a stage, for "
            "example --skip TTFF: one file for all configs is made in ONNX alone"
        )

    from ..export import to_onnx, to_torch  # torch takes a second: not for --help

    with only_results_on_stdout(), status_line() as on_progress:
        on_progress("making the network", 0, None)
        name, adaptive = _network(model, weights, example, arguments, cut)
        target = output or Path(_file_name(name, skip) + _ENDINGS[kind])
        given = as_example(example.inputs(adaptive)) if example else None
        how: dict[str, Any] = {"example_input": given, "batch": free, "on_progress": on_progress}
        if kind == "onnx":
            made = to_onnx(adaptive, target, skip, opset=opset, **how)
        else:
            made = to_torch(adaptive, target, skip, **how)
    stages = [stage.name for stage in adaptive.stages]
    if json:
        show_json({"model": name, "stages": stages, **asdict(made), "path": str(made.path)})
    else:
        trained = weights is not None or Path(model).is_dir() or "pretrained" in arguments
        _show(made, stages)
        if not trained:
            said(f"  weights: as {name} is made; for others give RUN_DIR or --arg pretrained=true")


def _network(
    target: str,
    weights: Path | None,
    example: Example,
    arguments: Mapping[str, Any],
    cut: options.Cut,
) -> tuple[str, AdaptiveModel]:
    from ..checkpoint import load, load_original
    from ..constructors import constructor
    from .run_directory import read_run, run_directory
    from .subject import subject_of

    if weights is not None and not weights.exists():
        raise CheckpointError(f"got --weights {weights}, which is not there")
    directory = None if weights is None else run_directory(weights)
    if directory is not None and not Path(target).is_dir():
        run = read_run(directory, target)
        own = constructor(target, {**run.arguments, **arguments})()
        return target, load(directory, model=own)
    subject = subject_of(target, example, arguments, cut)
    if subject.run is not None:
        if weights is not None:
            raise CheckpointError(
                f"got {target} and --weights {weights}; expected the directory alone, which holds "
                "its weights"
            )
        return subject.name, load(Path(target), model=subject.make())
    adaptive, _ = subject.converted(subject.make())
    if weights is not None:
        load_original(adaptive, weights)
    return subject.name, adaptive


def _batch(word: str) -> int | None:
    if word == "dynamic":
        return None
    if not word.isdigit() or int(word) < 1:
        raise ExportError(f"got --batch {word!r}; expected dynamic, or a number from 1 on")
    return int(word)


def _file_name(name: str, skip: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name) + ("" if skip == "runtime" else f"-{skip}")


def _show(made: Exported, stages: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from .output import show

    whole = made.skip == "runtime"
    what = f"all {2 ** len(stages)} skip configs" if whole else f"skip config {made.skip}"
    said(f"Wrote {made.path} ({made.size / 1e6:.1f} MB): {what}")
    table = Table.grid(padding=(0, 2))
    for side, tensors in (("input", made.inputs), ("output", made.outputs)):
        for tensor in tensors:
            shape = " x ".join(map(str, tensor.shape))
            note = f"true skips: {', '.join(stages)}" if whole and tensor.name == "skip" else ""
            table.add_row(f"  {side}", tensor.name, tensor.dtype, shape, Text(note, style="dim"))
    show(table)
    count = len(made.checked)
    configs = f"{count} configs" if count > 1 else "the config"
    said(f"  largest difference to torch, {configs} on random inputs: {made.difference:.1e}")
