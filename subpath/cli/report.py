"""``subpath report``: what each skip config costs, and what it achieves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CheckpointError, PlanError
from . import latency as timing
from . import options
from .output import only_results_on_stdout, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..plan import Plan


def report(
    model: options.Model,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="A directory that subpath finetune wrote (its cut and its accuracy are shown), or "
            "a file of weights, which must fit the network.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every skip config, also if there are many.")
    ] = False,
    input_size: options.InputSize = None,
    arg: options.ModelArguments = None,
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
    rounds: timing.Rounds = None,
    measure_all: timing.MeasureAll = False,
    json: options.Json = False,
) -> None:
    """Show GMACs, parameters, accuracy and latency of each skip config."""
    size = options.parse_input_size(input_size)
    arguments = options.parse_arguments(arg)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)
    measuring = timing.parse_measuring(
        latency, batch, threads, device, precision, compiled, rounds, measure_all
    )

    import subpath  # torch, timm and the rest take a second: not for --help

    from .. import checkpoint, measure
    from .. import report as views
    from ..maker import maker
    from .network import example, without_weights
    from .run_directory import Run, read_run, run_directory
    from .subject import Subject

    run: Run | None = None
    how: dict[str, Any] = cut.arguments()
    if weights is not None and not weights.exists():
        raise CheckpointError(f"got --weights {weights}, which is not there")
    directory = run_directory(weights) if weights is not None else None
    if directory is not None:
        run = read_run(directory, model)
        if cut != options.Cut():
            raise PlanError(
                f"got --weights {weights} and options of the cut; expected the directory alone, "
                "which says how its network is cut"
            )
        arguments = {**run.arguments, **arguments}
        size = size or run.input_size
        how = {"plan": run.plan}

    def count(network: nn.Module) -> tuple[Plan, measure.MacTable]:
        inputs = example(network, size)
        adaptive = subpath.convert(network.eval(), inputs, **how)
        if weights is not None and run is None:
            checkpoint.load_original(adaptive, weights)
        stages = len(adaptive.stages)
        skips = adaptive.skip_configs() if every else measure.useful_configs(stages)
        return adaptive.plan, measure.count_macs(adaptive, inputs, skips=skips)

    with only_results_on_stdout():
        make = maker(model, arguments)
        if weights is not None and run is None:
            plan, table = count(make())
        else:
            plan, table = without_weights(make, count)
        subject = Subject(model, make, how, size, run)
        latencies = measuring.tables(subject) if measuring else ()
    top1 = run.top1 if run else {}
    rows = [
        views.ConfigRow(entry.skip, entry.gmacs, entry.ratio, entry.params, top1.get(entry.skip))
        for entry in table.configs
    ]
    shape = table.input_shapes[0][1:]
    if json:
        show_json(views.report_document(model, shape, plan, rows, table.uncounted, latencies))
    else:
        show(views.report_view(model, shape, plan, rows, table.uncounted, latencies))
