"""Batch-norm statistics for a config that was never trained."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import fx, nn

from .adaptive.model import AdaptiveModel
from .errors import SubpathError


@torch.no_grad()
def calibrate(
    model: AdaptiveModel, loader: Iterable[Any], skip: str, batches: int | None = None
) -> fx.GraphModule:
    """One sub-network with running statistics of its own, estimated from a few batches.

    Only super-net and base-net are trained. In the configs between them, a norm with running
    statistics sees values that neither of the two has seen there; its statistics are measured
    here, as means over the batches. All weights are shared with ``model``, whose own statistics
    stay as they are.

    Args:
        model: the adaptive model.
        loader: batches of training images, not augmented or as in training; of a tuple or list,
            as ``(images, labels)``, the first element counts.
        skip: the config.
        batches: how many to take; default: all.

    Returns:
        The sub-network, in eval mode, a ``torch.fx.GraphModule`` as from ``model.subnet(skip)``.

    Raises:
        SubpathError: there is no batch.
        SkipConfigError: ``skip`` is not a config of this model.
    """
    subnet = _in_eval_mode(model, skip)
    norms: list[Any] = [module for module in subnet.modules() if _has_statistics(module)]
    momenta = [norm.momentum for norm in norms]
    place = next(model.parameters())
    count = 0
    for norm in norms:
        norm.train()
    for batch in islice(loader, batches):
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        count += 1
        for norm in norms:
            norm.momentum = 1 / count  # so that every batch has the same share
        subnet(images.to(place.device, place.dtype))
    if count == 0:
        raise SubpathError("got no batch to calibrate with; expected a few batches of images")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return subnet.eval()


def _in_eval_mode(model: AdaptiveModel, skip: str) -> fx.GraphModule:
    """The sub-network in eval mode, with the model's weights and copies of its statistics."""
    mode = model.training
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        subnet, shared = model.subnet(skip, copy_weights=True), model.subnet(skip)
    finally:
        model.train(mode)
        for module, was in modes:
            module.training = was
    for name, parameter in shared.named_parameters(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        subnet.get_submodule(owner).register_parameter(leaf, parameter)
    return subnet


def _has_statistics(module: nn.Module) -> bool:
    kept = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    return any(isinstance(value, torch.Tensor) for value in kept) and hasattr(module, "momentum")
