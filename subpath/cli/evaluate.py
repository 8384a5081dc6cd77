"""``subpath evaluate``: accuracy of a fine-tuned network on its held-back data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import only_results_on_stdout
from .summary import show_summary


def evaluate(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="A directory that subpath finetune wrote.")
    ],
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TTFF", help="A skip config; can be repeated. Default: all.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure accuracy and GMACs of skip configs on the held-back data of a run."""
    with only_results_on_stdout():
        from ..finetune import evaluate as run_again  # torch and timm take a second: not for --help
        from .progress import ProgressBars

        summary = run_again(run_dir, skip, observer=ProgressBars())
    show_summary(summary, run_dir, json)
