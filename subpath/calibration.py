"""Batch-norm statistics for a config that was never trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .adaptive.internals import keep_statistics, with_own_statistics
from .adaptive.model import AdaptiveModel
from .adaptive.statistics import has_statistics
from .errors import SubpathError
from .graph.inputs import inputs_in
from .progress import OnProgress, first_of, no_progress
from .skip import SkipConfig


@torch.no_grad()
def calibrate(
    model: AdaptiveModel,
    loader: Iterable[Any],
    skip: str,
    batches: int | None = None,
    *,
    keep: bool = False,
    on_progress: OnProgress = no_progress,
) -> nn.Module:
    """One sub-network with running statistics of its own, estimated from a few batches.

    Only super-net and base-net are trained. In the configs between them, a norm with running
    statistics sees values that neither of the two has seen there; its statistics are measured
    here, as means over the batches. All weights are shared with ``model``, whose other configs
    keep their statistics.

    Args:
        model: the adaptive model.
        loader: batches of training images, not augmented or as in training; of a tuple or list,
            as ``(images, labels)``, the first element counts; a dict holds inputs by name.
        skip: the config.
        batches: how many to take; default: all.
        keep: let ``model`` itself run ``skip`` with these statistics in eval mode from now on, and
            have them in its state dict (``calibrated.<config>.<path>``), so that they are saved and
            loaded with it. Train mode does not know them; after further training calibrate again.
            Without ``keep`` the model stays as it was.
        on_progress: called as ``on_progress(step, done, total)``; see
            :data:`subpath.progress.OnProgress`.

    Returns:
        The sub-network, in eval mode, as from ``model.subnet(skip)``.

    Raises:
        SubpathError: there is no batch.
        SkipConfigError: ``skip`` is not a config of this model.
    """
    config = SkipConfig(skip, len(model.stages))
    subnet, parts = with_own_statistics(model, config)
    norms: list[Any] = [module for module in subnet.modules() if has_statistics(module)]
    momenta = [norm.momentum for norm in norms]
    place = next(model.parameters())
    count = 0
    for norm in norms:
        norm.train()
    for batch in first_of(loader, batches, f"calibrating {config}", on_progress):
        count += 1
        for norm in norms:
            norm.momentum = 1 / count  # so that every batch has the same share
        inputs = inputs_in(batch, place)
        subnet(*inputs.args, **inputs.kwargs)
    if count == 0:
        raise SubpathError("got no batch to calibrate with; expected a few training batches")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    subnet.eval()
    if keep:
        keep_statistics(model, config, parts)
    return subnet
