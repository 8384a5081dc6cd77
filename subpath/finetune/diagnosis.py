"""What each block of a recipe's network is worth on the recipe's data."""

from __future__ import annotations

from ..measure import Sensitivity, sensitivity
from .criterion import make_criterion
from .data import image_format, open_data
from .loader import still_batches
from .network import architecture, make_network
from .observer import Observer, Silent
from .processes import start_processes
from .recipe import Recipe
from .scene import threads
from .seeds import set_seeds


def diagnose(
    recipe: Recipe,
    images: int = 500,
    observer: Observer | None = None,
) -> Sensitivity:
    """Skip each block of the recipe's network alone, and look at the loss on training images.

    Args:
        recipe: from :func:`read_recipe`; its network is taken with the weights that it names.
        images: how many training images to look at.
        observer: gets told about the progress.

    Raises:
        DataError: the data cannot be read, or there are too few images.
        ModelError, ConversionError: the network cannot be made or has no block to skip.
    """
    with threads(recipe.threads):
        set_seeds(recipe.seed)
        split = open_data(recipe.data, recipe.seed)
        network = make_network(recipe, architecture(recipe, split.num_classes)).eval()
        form = image_format(recipe.data, network)
        device = start_processes(recipe.device, recipe.precision).device
        size = min(recipe.finetune.batch_size, images)
        count = max(1, images // size)
        batches = still_batches(split.train, form, size, count, recipe.seed)
        watching = observer or Silent()
        watching.begin("diagnose", 1, count, size, 0)
        try:
            return sensitivity(
                network.to(device),
                batches,
                make_criterion(recipe.finetune),
                on_progress=lambda samples, done: watching.batch(None, None),
            )
        finally:
            watching.end()
