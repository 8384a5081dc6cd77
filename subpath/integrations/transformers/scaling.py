"""Is a batch's loss its share of the update's, or a mean that accumulation has yet to divide?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...adaptive.in_place import InPlaceModel


def heeds_items(trainer: Any, model: InPlaceModel, inputs: Mapping[str, Any]) -> bool:
    """Whether the loss is divided by ``num_items_in_batch``, the number of items of an update.

    The Trainer takes it to be so for every forward with ``**kwargs``, but many of those ignore the
    number, and their loss would grow with accumulation and with processes. So the loss is asked:
    does twice the number halve it?
    """
    training, devices = model.training, {p.device for p in model.parameters() if p.is_cuda}
    model.eval()
    with torch.random.fork_rng(devices), torch.no_grad():
        one, half = (
            trainer.compute_loss(
                model,
                dict(inputs),
                num_items_in_batch=torch.tensor(number, device=trainer.args.device),
            )
            for number in (1, 2)
        )
    model.train(training)
    return bool((half - one / 2).abs() < (half - one).abs())
