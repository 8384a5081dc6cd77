"""``subpath inspect``: how a network would be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import options
from .output import only_results_on_stdout, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from ..plan import Plan


def inspect(
    model: options.Model,
    input_size: options.InputSize = None,
    arg: options.ModelArguments = None,
    groups: options.Groups = None,
    skippable: options.Skippable = None,
    blocks: options.Blocks = None,
    twin_norms: options.TwinNorms = "mandatory",
    json: options.Json = False,
) -> None:
    """Show stages, blocks, mandatory and skippable sub-paths, shapes and twin norms."""
    size = options.parse_input_size(input_size)
    arguments = options.parse_arguments(arg)
    cut = options.parse_cut(groups, skippable, blocks, twin_norms)

    import subpath  # torch, timm and the rest take a second: not for --help

    from .. import report
    from ..maker import maker
    from .network import example, without_weights

    def read(network: nn.Module) -> tuple[list[int], Plan]:
        inputs = example(network, size)
        return list(inputs.shape[1:]), subpath.plan(network, inputs, **cut.arguments())

    with only_results_on_stdout():
        shape, plan = without_weights(maker(model, arguments), read)
    if json:
        show_json(report.inspect_document(model, shape, plan))
    else:
        show(report.inspect_view(model, shape, plan))
