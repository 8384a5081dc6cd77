"""``subpath inspect``: how a network would be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import options
from .example import parse_example
from .output import only_results_on_stdout, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..measure import InputShapes
    from ..planning import Plan


def inspect(
    model: options.Model,
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
    """Show stages, blocks, mandatory and skippable sub-paths, shapes and twin norms."""
    example = parse_example(input_size, input_)
    arguments = options.parse_arguments(arg, model_args)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)

    import subpath  # torch, timm and the rest take a second: not for --help

    from .. import measure, report
    from ..constructors import constructor
    from .network import without_weights

    def read(network: nn.Module) -> tuple[InputShapes, Plan]:
        inputs = example.inputs(network)
        found = subpath.plan(network, inputs, **cut.arguments())
        return measure.input_shapes(network, inputs), found

    with only_results_on_stdout():
        shapes, plan = without_weights(constructor(model, arguments), read)
    if json:
        show_json(report.inspect_document(model, shapes, plan))
    else:
        show(report.inspect_view(model, shapes, plan))
