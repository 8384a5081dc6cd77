"""The original network of a recipe, with its weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from .. import zoo
from ..checkpoint import Architecture, check_keys, read_weights
from .recipe import Recipe


def architecture(recipe: Recipe, num_classes: int) -> Architecture:
    """How timm makes the network: the recipe's arguments, and classes and channels of the data."""
    arguments: dict[str, Any] = {"num_classes": num_classes}
    size = recipe.data.input_size
    if size is not None and size[0] != 3:
        arguments["in_chans"] = size[0]
    return Architecture(recipe.model.name, {**arguments, **recipe.model.arguments})


def make_network(recipe: Recipe, made: Architecture) -> nn.Module:
    """Make the original network and give it the recipe's starting weights.

    Raises:
        ModelError: timm cannot make it.
        CheckpointError: the local weights do not fit.
    """
    weights = recipe.model.weights
    pretrained = weights == "pretrained"
    network = zoo.create_model(made.name, pretrained=pretrained, **made.arguments)
    if weights not in ("scratch", "pretrained"):
        _load_local(network, weights)
    return network


def _load_local(network: nn.Module, path: str) -> None:
    """Load a file of weights; a classifier for other classes stays as it was initialised."""
    expected, given = network.state_dict(), read_weights(path)
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    for key in expected:
        of_head = key.startswith(tuple(f"{head}." for head in heads))
        if of_head and key in given and given[key].shape != expected[key].shape:
            given[key] = expected[key]
    check_keys(expected, given, path)
    network.load_state_dict(given)
