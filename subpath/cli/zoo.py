"""``subpath zoo``: convert and check every network of a library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .interruption import interruptible
from .output import only_results_on_stdout, remark
from .sweep_summary import show_sweep

if TYPE_CHECKING:
    from ..sweep.record import Record


def zoo(
    library: Annotated[
        str,
        typer.Option(
            metavar="NAME|all",
            help="timm, torchvision, transformers, diffusers, ... (an unknown name lists them), or "
            "every library that is installed.",
        ),
    ] = "timm",
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="PATTERN",
            help="Only networks whose names match, for example 'resnet*'; can be repeated.",
            show_default=False,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only networks of one family: the module that defines them, for example "
            "swin_transformer.",
            show_default=False,
        ),
    ] = None,
    parity: Annotated[
        bool,
        typer.Option(
            "--parity",
            help="Also compare outputs and gradients, for the smallest network of each family.",
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of networks examined in parallel.")
    ] = os.cpu_count() or 1,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=1, help="Time limit per network.")
    ] = 600,
    memory: Annotated[
        float, typer.Option(metavar="GIB", min=0.5, help="Memory limit per network.")
    ] = 10,
    results: Annotated[
        Path,
        typer.Option(
            metavar="FILE.jsonl",
            help="Where the results are kept; networks that it holds are not examined again.",
        ),
    ] = Path("runs/zoo.jsonl"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard earlier results of the chosen networks.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md",
            help="Write a page with all results in the file.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Convert and check every network of a library.

    Networks of timm and torchvision are made in full size, without weights; those of other
    libraries are small, with random weights. Nothing is downloaded. To continue an interrupted
    sweep, run the same command again. The exit status is 1 if a network or a check fails.
    """
    with only_results_on_stdout():
        from ..sweep.pool import Limits  # torch and timm take a second: not for --help
        from ..sweep.results import Results
        from ..sweep.run import choose, installed, sweep
        from ..sweep.table import write_page
        from ..zoo import LIBRARIES
        from .sweep_progress import watcher

        everything = library == "all"
        libraries, missing = installed(list(LIBRARIES)) if everything else ([library], [])
        chosen = choose(libraries, filter_ or (), family)
        keys = [(name, network) for name, networks in chosen.items() for network in networks]
        known = Results(results)
        if fresh:
            known.forget(keys)
        records: list[Record] = []

        def advice() -> str:
            done = sum(known.get(*key) is not None for key in keys)
            return (
                f"after {done} of {len(keys)} networks, which are in {results}; the same "
                f"command{' without --fresh' if fresh else ''} goes on from there"
            )

        with interruptible(advice):
            for name, networks in chosen.items():
                records += sweep(
                    name,
                    networks,
                    known,
                    parity=parity,
                    workers=workers,
                    limits=Limits(seconds, int(memory * 2**30)),
                    callback=watcher(),
                )
        if table is not None:
            write_page(table, known.records)
        for what in missing:
            remark(what)
    show_sweep(records, results, json)
    if any(record.outcome == "failed" or record.wrong for record in records):
        sys.exit(1)
