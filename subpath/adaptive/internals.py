"""What other rooms ask of an adaptive model beyond its public methods.

These are functions, as methods would hide attributes of the original, which a model has too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..graph.inputs import Inputs
from ..skip import SkipConfig
from .gates import GatedGraph
from .graph_model import GraphModel
from .model import AdaptiveModel


def network_in(model: AdaptiveModel) -> nn.Module:
    """The module that holds all weights: a copy of the original, with twins and patches."""
    return model._root


def example_for(model: AdaptiveModel, given: Any = None) -> Inputs:
    """Inputs of the shapes given; by default those of the conversion, in the model's precision.

    Raises:
        SubpathError: none are given, and the model was converted without.
    """
    return model._example(given)


def graphs_for(
    model: GraphModel, inputs: tuple[Any, ...] | None = None
) -> Mapping[bool, GatedGraph]:
    """The gated graphs of eval (``False``) and train mode (``True``) that hold for these inputs.

    Args:
        model: runs from its graph.
        inputs: positional ones; default: the example of the conversion.

    Raises:
        TraceError: the network cannot be traced for inputs of these shapes.
    """
    return model._graphs if inputs is None else model._graphs_for(inputs)


def takes_any_batch(model: GraphModel, inputs: tuple[Any, ...]) -> bool:
    """Whether the graph of eval mode for these inputs also holds for other batch sizes."""
    gated = graphs_for(model, inputs)[False]
    return not gated.by_size or model._any_batch(gated, inputs, training=False)


def input_names(model: GraphModel) -> tuple[str, ...]:
    """The names of the inputs, in order."""
    return model._forwards.inputs


def with_own_statistics(
    model: AdaptiveModel, config: SkipConfig
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """A sub-network in eval mode with running statistics of its own, and its parts by path."""
    return model._own_parts(config)


def keep_statistics(
    model: AdaptiveModel, config: SkipConfig, parts: Mapping[str, nn.Module]
) -> None:
    """Let ``config`` run with the statistics of ``parts`` from now on."""
    model._keep_statistics(config, parts)
