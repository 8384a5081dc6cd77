"""``subpath finetune``: run a recipe, from data to an adaptive network on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RunError
from . import options
from .interruption import interruptible
from .output import only_results_on_stdout
from .summary import show_summary


def finetune(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A YAML file, or the name of a recipe that comes with subpath (see subpath "
            "recipes).",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY.PATH=VALUE",
            help="Override one value of the recipe (finetune.epochs=5); can be repeated.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Output directory; default: runs/NAME.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run in the output directory.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in the output directory, or start it if there is none.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Train super-net and base-net together by self-distillation, as a recipe describes."""
    if overwrite and resume:
        raise RunError("got --overwrite and --resume; expected one of them")
    with only_results_on_stdout():
        from .. import finetune as engine  # torch and timm take a second: not for --help
        from .progress import ProgressBars

        read = engine.read_recipe(recipe, set_ or ())
        directory = engine.output_directory(read, output)

        def advice() -> str:
            how = "--resume instead of --overwrite" if overwrite else "--resume"
            if engine.has_checkpoint(directory):
                return f"in {directory}; the same command with {how} goes on from the checkpoint"
            return f"before the first checkpoint; the same command with {how} begins again"

        with interruptible(advice):
            summary = engine.finetune(
                read, directory, overwrite=overwrite, resume=resume, callback=ProgressBars()
            )
        first = engine.end_processes()
    if first:  # of several processes, one reports
        show_summary(summary, directory, json)
