"""The networks of a recipe, with their weights."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn

from .. import zoo
from ..checkpoint import Architecture, check_keys, read_weights
from ..constructors import constructor
from ..errors import RecipeError
from .recipe import Recipe, TeacherSection

Network = TypeVar("Network", bound=nn.Module)


def architecture(recipe: Recipe, num_classes: int) -> Architecture:
    """How the network is made: the recipe's arguments, and classes and channels of the data."""
    arguments: dict[str, Any] = {"num_classes": num_classes}
    size = recipe.data.input_size
    if size is not None and size[0] != 3:
        arguments["in_chans"] = size[0]
    return Architecture(recipe.model.name, {**arguments, **recipe.model.arguments})


def make_network(recipe: Recipe, made: Architecture) -> nn.Module:
    """Make the original network and give it the recipe's starting weights.

    Raises:
        ModelError: it cannot be made.
        RecipeError: weights are to be downloaded for a network that is none of timm's, or leave
            the classifier of a frozen original as it was initialised.
        CheckpointError: the local weights do not fit.
    """
    whole = recipe.finetune.original == "frozen" and recipe.train is None
    return _make(made, recipe.model.weights, "model", whole)


def teacher_network(section: TeacherSection, student: Architecture) -> nn.Module:
    """Make the teacher, for the classes and channels of the student.

    Raises:
        ModelError, RecipeError, CheckpointError: as for the network itself.
    """
    given = {k: v for k, v in student.arguments.items() if k in ("num_classes", "in_chans")}
    made = Architecture(section.name, {**given, **section.arguments})
    return _make(made, section.weights, "distill.teacher", whole=False)


def in_sync(network: Network, device: torch.device) -> Network:
    """The same weights and statistics in a network whose batch norms see all processes.

    Raises:
        RecipeError: the device has no synchronised batch norm.
    """
    if device.type != "cuda":
        raise RecipeError(
            f"got sync_batch_norm: true on {device.type}; expected CUDA, the only device for which "
            "torch has it"
        )
    tensors = [*network.parameters(), *network.buffers()]
    shared: Network = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    synced: Network = convert_sync_batchnorm(shared)
    return synced


def _make(made: Architecture, weights: str, key: str, whole: bool) -> nn.Module:
    if weights == "pretrained":
        if not made.is_timm:
            raise RecipeError(
                f"got {key}.weights: pretrained for {made.name}; expected a local file, or scratch"
            )
        pretrained: Any = zoo.create_model(made.name, pretrained=True, **made.arguments)
        known = pretrained.pretrained_cfg.get("num_classes")
        if whole and known != pretrained.num_classes:
            raise RecipeError(
                f"got original: frozen and a new classifier ({pretrained.num_classes} classes; "
                f"{made.name} was trained on {known}), which would stay as it was initialised; "
                "expected a train section, which trains the original first, or model.weights that "
                "know these classes"
            )
        downloaded: nn.Module = pretrained
        return downloaded
    network = constructor(made.name, made.arguments)()
    if weights != "scratch":
        _load_local(network, weights, whole)
    return network


def _load_local(network: nn.Module, path: str, whole: bool) -> None:
    """Load a file of weights; a classifier for other classes stays as it was initialised.

    If ``whole``, that is refused.
    """
    expected, given = network.state_dict(), read_weights(path)
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    for key in expected:
        of_head = key.startswith(tuple(f"{head}." for head in heads))
        if of_head and not whole and key in given and given[key].shape != expected[key].shape:
            given[key] = expected[key]
    check_keys(expected, given, path)
    network.load_state_dict(given)
