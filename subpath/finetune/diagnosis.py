"""What each block of a recipe's network is worth on the recipe's data."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..distill.step import task_loss
from ..measure import Sensitivity, sensitivity
from .callback import Callback, NoCallback
from .context import threads
from .loader import Place, to_device
from .network import make_network
from .processes import start_processes
from .recipe import Recipe
from .seeds import set_seeds
from .tasks import Task, open_task


def diagnose(recipe: Recipe, samples: int = 500, callback: Callback | None = None) -> Sensitivity:
    """Skip each block of the recipe's network alone, and look at the loss on training data.

    Args:
        recipe: from :func:`read_recipe`; its network is taken with the weights that it names.
        samples: how many training samples to look at.
        callback: is told about the progress.

    Raises:
        DataError: the data cannot be read, or there are too few samples.
        ModelError, ConversionError: the network cannot be made or has no block to skip.
    """
    with threads(recipe.threads):
        set_seeds(recipe.seed)
        task = open_task(recipe)
        network = make_network(recipe, task.architecture(recipe)).eval()
        task = task.fitted(network)
        device = start_processes(recipe.device, recipe.precision).device
        return sensitivity_of(network.to(device), task, recipe, samples, callback or NoCallback())


def sensitivity_of(
    network: nn.Module, task: Task, recipe: Recipe, samples: int, callback: Callback
) -> Sensitivity:
    """The same for a network on its device, with the weights that it has."""
    size = min(recipe.finetune.batch_size, samples)
    count = max(1, samples // size)
    criterion = task.criterion(recipe.finetune)
    device = next(network.parameters()).device

    def loss(output: Any, targets: Any) -> Tensor:
        return task_loss(task.read(output), targets, criterion)

    callback.begin("diagnose", 1, count, size, 0)
    try:
        return sensitivity(
            network,
            task.unaugmented_batches(size, count, recipe.seed, Place()),
            loss,
            to_device(task.example(2), device),
            on_progress=lambda step, done, total: callback.batch(None, None),
        )
    finally:
        callback.end()
