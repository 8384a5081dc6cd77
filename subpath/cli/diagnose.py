"""``subpath diagnose``: what each block of a network contributes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import only_results_on_stdout, said, show, show_json


def diagnose(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="Names the network, its weights and the data: a YAML file, or a recipe that "
            "comes with subpath (see subpath recipes).",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY.PATH=VALUE",
            help="Override one value of the recipe (model.weights=FILE); can be repeated.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=2, metavar="N", help="Number of training samples to use.")
    ] = 500,
    max_macs: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Also name the blocks to skip to get down to this share of the MACs.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg|FILE.png",
            help="Also write an image file (needs the extra 'plot').",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure what each block contributes: the loss when it alone is skipped, and if it refines."""
    with only_results_on_stdout():
        from .. import finetune as engine  # torch and timm take a second: not for --help
        from .. import report
        from .progress import ProgressBars

        read = engine.read_recipe(recipe, set_ or ())
        found = engine.diagnose(read, samples, ProgressBars())
        chosen = None if max_macs is None else found.least_hurt(max_macs)
        if output is not None:
            from .. import plot

            plot.save_figure(plot.sensitivity_figure(read.model.name, found), output)
    if json:
        document = report.sensitivity_document(read.model.name, found)
        more = {} if chosen is None else {"least_hurt": chosen}
        show_json(document | more | ({"files": [str(output)]} if output else {}))
        return
    show(report.sensitivity_view(read.model.name, found))
    if chosen is not None:
        said(f"Skip these: --blocks {','.join(chosen)}")
    if output is not None:
        said(f"Wrote {output}")
