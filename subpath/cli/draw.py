"""``subpath draw``: which blocks of a network can be skipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .example import parse_example
from .output import only_results_on_stdout, said, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..adaptive.model import AdaptiveModel
    from ..measure import InputShapes, Parts


def draw(
    model: options.ModelOrDirectory,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg|FILE.png",
            help="Write an image file instead of printing (needs the extra 'plot').",
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
    """Draw the stages of a network: mandatory and skippable blocks with their share of the MACs."""
    example = parse_example(input_size, input_)
    arguments = options.parse_arguments(arg, model_args)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)

    from .. import measure, report  # torch, timm and the rest take a second: not for --help
    from .network import without_weights
    from .subject import subject_of

    def count(network: nn.Module) -> tuple[InputShapes, AdaptiveModel, Parts]:
        adaptive, inputs = subject.converted(network)
        return measure.input_shapes(network, inputs), adaptive, measure.parts_of(adaptive)

    with only_results_on_stdout():
        subject = subject_of(model, example, arguments, cut)
        shapes, adaptive, parts = without_weights(subject.make, count)
        if output is not None:
            from .. import plot

            figure = plot.stage_figure(subject.name, shapes, adaptive.plan, parts)
            plot.save_figure(figure, output)
    document = report.stages_document(subject.name, shapes, adaptive.plan, parts)
    if json:
        show_json(document | ({"files": [str(output)]} if output else {}))
    elif output is not None:
        said(f"Wrote {output}")
    else:
        show(report.stages_view(subject.name, shapes, adaptive.plan, parts))
