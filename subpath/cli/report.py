"""``subpath report``: what each skip config costs, and what it achieves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CheckpointError, MeasureError, PlanError
from . import latency as timing
from . import options
from .example import Example, parse_example
from .output import only_results_on_stdout, said, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..adaptive.model import AdaptiveModel
    from ..measure import InputShapes, LatencyTable, MacTable, Parts
    from .subject import Subject


def report(
    model: options.ModelOrDirectory,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="A run of subpath finetune (its plan and accuracies are used), or a file of "
            "weights for the network.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every skip config, however many there are.")
    ] = False,
    input_size: options.InputSize = None,
    input_: options.Input = None,
    arg: options.ModelArguments = None,
    model_args: options.MoreArguments = None,
    groups: options.Groups = None,
    skippable: options.Skippable = None,
    blocks: options.Blocks = None,
    twin_norms: options.TwinNorms = "mandatory",
    latency: timing.Latency = False,
    batch: timing.Batch = None,
    threads: timing.Threads = None,
    device: timing.Device = None,
    precision: timing.Precision = None,
    compiled: timing.Compile = False,
    runtime: timing.Runtime = None,
    rounds: timing.Rounds = None,
    measure_all: timing.MeasureAll = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Save the results in the run's directory, for model.choose and plots."
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Also write a page with a drawing, plots and the tables (needs the extra 'plot').",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show GMACs, parameters, accuracy and latency of each skip config."""
    example = parse_example(input_size, input_)
    arguments = options.parse_arguments(arg, model_args)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)
    measuring = timing.parse_measuring(
        latency, batch, threads, device, precision, compiled, runtime, rounds, measure_all
    )

    from .. import checkpoint, measure  # torch, timm and the rest take a second: not for --help
    from .. import report as views
    from .network import without_weights
    from .run_directory import save_measured

    def count(network: nn.Module) -> tuple[InputShapes, AdaptiveModel, MacTable, Parts | None]:
        adaptive, inputs = subject.converted(network)
        shapes = measure.input_shapes(network, inputs)
        if weights is not None and subject.run is None:
            checkpoint.load_original(adaptive, weights)
        useful = measure.useful_configs(len(adaptive.stages))
        macs = measure.count_macs(adaptive, skips=None if every or save else useful)
        parts = measure.parts_of(adaptive) if html is not None else None
        return shapes, adaptive, macs, parts

    with only_results_on_stdout():
        subject = _subject(model, weights, example, arguments, cut)
        run = subject.run
        if save and (run is None or (measuring is not None and len(measuring.batches) > 1)):
            raise MeasureError(
                "got --save; expected a run's directory to keep the figures in, and one batch size"
            )
        if weights is not None and run is None:
            shapes, adaptive, macs, parts = count(subject.make())
        else:
            shapes, adaptive, macs, parts = without_weights(subject.make, count)
        latencies = measuring.tables(subject) if measuring else []
        if save and run is not None:
            save_measured(run, _measured(macs, latencies, subject))
    top1 = run.top1 if run else {}
    listed = adaptive.skip_configs() if every else measure.useful_configs(len(adaptive.stages))
    rows = [
        views.ConfigRow(entry.skip, entry.gmacs, entry.ratio, entry.params, top1.get(entry.skip))
        for entry in macs.configs
        if entry.skip in listed
    ]
    plan = adaptive.plan
    if html is not None and parts is not None:
        text = views.page(subject.name, shapes, plan, parts, rows, macs.uncounted, latencies)
        _write(html, text)
    told = (subject.name, shapes, plan, rows, macs.uncounted, latencies)
    if json:
        written = {"files": [str(html)]} if html else {}
        show_json(views.report_document(*told) | written)
        return
    show(views.report_view(*told))
    if html is not None:
        said(f"Wrote {html}")


def _subject(
    model: str,
    weights: Path | None,
    example: Example,
    arguments: dict[str, Any],
    cut: options.Cut,
) -> Subject:
    from ..constructors import constructor
    from .run_directory import read_run, run_directory
    from .subject import Subject, subject_of

    if weights is None:
        return subject_of(model, example, arguments, cut)
    if not weights.exists():
        raise CheckpointError(f"got --weights {weights}, which is not there")
    directory = run_directory(weights)
    if directory is None:
        return Subject(model, constructor(model, arguments), cut.arguments(), example)
    run = read_run(directory, model)
    if cut != options.Cut():
        raise PlanError(
            f"got --weights {weights} and options of the cut; expected the directory alone, "
            "which says how its network is cut"
        )
    make = constructor(model, {**run.arguments, **arguments})
    return Subject(model, make, {"plan": run.plan}, example or Example(run.input_size), run)


def _measured(macs: MacTable, latencies: Sequence[LatencyTable], subject: Subject) -> Any:
    """The figures of now; latencies of before stay if none are measured now."""
    from .. import measure

    run = subject.run
    assert run is not None
    table = measure.measured_table(macs, latencies[0] if latencies else None, run.top1)
    if not latencies and run.measured is not None:
        table = measure.with_saved_latency(table, run.measured)
    return table


def _write(path: Path, text: str) -> None:
    from ..checkpoint import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise MeasureError(
            f"got an error while writing {path} ({error}); expected a place that can be written"
        ) from error
