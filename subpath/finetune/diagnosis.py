"""What each block of a recipe's network is worth on the recipe's data."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..distill.step import task_loss
from ..measure import Sensitivity, sensitivity
from .callback import Callback, NoCallback
from .context import threads
from .loader import Place
from .network import make_network
from .processes import start_processes
from .recipe import Recipe
from .seeds import set_seeds
from .tasks import open_task


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
        size = min(recipe.finetune.batch_size, samples)
        count = max(1, samples // size)
        criterion = task.criterion(recipe.finetune)

        def loss(output: Any, targets: Any) -> Tensor:
            return task_loss(task.read(output), targets, criterion)

        callback = callback or NoCallback()
        callback.begin("diagnose", 1, count, size, 0)
        try:
            return sensitivity(
                network.to(device),
                task.unaugmented_batches(size, count, recipe.seed, Place()),
                loss,
                task.example(2).to(device),
                on_progress=lambda step, done, total: callback.batch(None, None),
            )
        finally:
            callback.end()
