"""``subpath plot``: all configs in one picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import latency as timing
from . import options
from .example import parse_example
from .output import only_results_on_stdout, said, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..choice import MeasuredTable
    from ..measure import MacTable
    from .subject import Subject


def plot(
    model: options.ModelOrDirectory,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="FILE.png or FILE.svg; without an extension, both. Default: 'plot' in the run's "
            "directory, or the model's name in the current directory.",
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
    latency: timing.Latency = False,
    batch: timing.OneBatch = None,
    threads: timing.Threads = None,
    device: timing.Device = None,
    precision: timing.Precision = None,
    compiled: timing.Compile = False,
    runtime: timing.Runtime = None,
    rounds: timing.Rounds = None,
    measure_all: timing.MeasureAll = False,
    json: options.Json = False,
) -> None:
    """Plot accuracy (or share of the work, if no accuracy is known) of all configs against cost.

    Cost is multiply-adds and, if measured now or saved with the run, latency.
    """
    example = parse_example(input_size, input_)
    arguments = options.parse_arguments(arg, model_args)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)
    batches = None if batch is None else [batch]
    measuring = timing.parse_measuring(
        latency, batches, threads, device, precision, compiled, runtime, rounds, measure_all
    )

    from .. import plot as pictures  # matplotlib and the rest take a second: not for --help
    from .subject import subject_of

    with only_results_on_stdout():
        subject = subject_of(model, example, arguments, cut)
        table = _known(subject, measuring)
        figure = pictures.curve_figure(pictures.panels_of(table), subject.name)
        files = _files(output, Path(model), subject)
        for file in files:
            pictures.save_figure(figure, file)
    if json:
        show_json({"model": subject.name, "files": list(map(str, files)), **table.to_dict()})
    else:
        said(f"Wrote {' and '.join(map(str, files))}")


def _known(subject: Subject, measuring: timing.Measuring | None) -> MeasuredTable:
    """What is saved of a run, and what is counted and measured now."""
    from .. import measure
    from .network import without_weights

    def count(network: nn.Module) -> MacTable:
        adaptive, _ = subject.converted(network)
        return measure.count_macs(adaptive)

    macs = without_weights(subject.make, count)
    top1 = subject.run.top1 if subject.run else None
    if measuring is not None:
        (times,) = measuring.tables(subject)
        return measure.measured_table(macs, times, top1)
    if subject.run is not None and subject.run.measured is not None:
        return measure.with_saved_latency(
            measure.measured_table(macs, None, top1), subject.run.measured
        )
    return measure.measured_table(macs, None, top1)


def _files(output: Path | None, target: Path, subject: Subject) -> list[Path]:
    if output is None:
        name = re.sub(r"[^\w.-]+", "-", subject.name)
        output = target / "plot" if subject.run else Path(name)
    elif output.suffix in (".png", ".svg"):
        return [output]
    return [output.with_name(f"{output.name}{suffix}") for suffix in (".png", ".svg")]
