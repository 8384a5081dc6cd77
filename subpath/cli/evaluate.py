"""``subpath evaluate``: accuracy of a fine-tuned network on its validation data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import only_results_on_stdout
from .summary import show_summary


def evaluate(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run of subpath finetune.")
    ],
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TTFF", help="A skip config; can be repeated. Default: all.", show_default=False
        ),
    ] = None,
    calibrate: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Re-estimate batch-norm statistics of each untrained config from N batches of "
            "training images.",
            show_default=False,
        ),
    ] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CALLABLE",
            help="Makes the original network, if it is not timm's; called with the arguments of "
            "the run's recipe.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure accuracy and GMACs of skip configs on the validation data of a run."""
    with only_results_on_stdout():
        from ..checkpoint import read_description
        from ..constructors import constructor
        from ..finetune import evaluate as run_again  # torch and timm take a second: not for --help
        from .progress import ProgressBars

        original = None
        if model is not None:
            made = read_description(run_dir).architecture
            original = constructor(model, made.arguments if made is not None else {})()
        summary = run_again(
            run_dir, skip, calibrate_batches=calibrate, model=original, callback=ProgressBars()
        )
    show_summary(summary, run_dir, json)
