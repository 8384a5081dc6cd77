"""Metrics and multiply-adds of the configs of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor, nn

from .. import checkpoint
from ..adaptive.model import AdaptiveModel
from ..calibration import calibrate
from ..measure import count_macs, useful_configs
from ..skip import SkipConfig
from .callback import Callback, NoCallback
from .context import RunContext, threads
from .loader import Batches
from .metrics import metrics_of
from .processes import start_processes
from .recipe_file import read_recipe
from .results import ConfigResult, Summary
from .run_directory import RECIPE
from .tasks import open_task


def evaluate(
    directory: str | os.PathLike[str],
    skips: Sequence[str] | None = None,
    *,
    calibrate_batches: int = 0,
    model: nn.Module | None = None,
    callback: Callback | None = None,
) -> Summary:
    """Evaluate a run on its validation data.

    Args:
        directory: of the run.
        skips: the skip configs; default: all, or the useful ones of more than 32.
        calibrate_batches: give each config but super-net and base-net batch-norm statistics of
            its own, from so many batches of training images (see :func:`subpath.calibrate`).
        model: a fresh original; needed where the recipe names a callable, as no code is imported
            because a directory says so.
        callback: is told about the progress.

    Raises:
        CheckpointError, RecipeError, DataError: the directory holds no complete run, or the data
            is gone.
        SkipConfigError: the network has no such config.
    """
    folder = Path(directory)
    checkpoint.read_description(folder)  # fails, if it must, before any data is opened
    recipe = read_recipe(folder / RECIPE)
    task = open_task(recipe)
    adaptive = checkpoint.load(folder, model, example_input=task.example_to_load())
    task = task.fitted(adaptive)
    processes = start_processes(recipe.device, recipe.precision)
    made = task.architecture(recipe)
    context = RunContext(recipe, folder, processes, task, made, callback or NoCallback())
    with threads(recipe.threads):
        return summarise(adaptive.to(processes.device), skips, context, calibrate_batches)


def summarise(
    model: AdaptiveModel,
    skips: Sequence[str] | None,
    context: RunContext,
    calibrate_batches: int = 0,
    counted: AdaptiveModel | None = None,
) -> Summary:
    """Metrics and GMACs of some configs; by default all, or the useful ones of many.

    ``counted`` is the model whose multiply-adds are counted, if ``model`` has parts of its weights.
    """
    stages = len(model.stages)
    chosen = [SkipConfig(skip, stages) for skip in skips or useful_configs(stages)]
    between = [skip for skip in chosen if 0 < len(skip.skipped) < stages]
    calibrated = (
        _calibrated(model, between, context, calibrate_batches) if calibrate_batches else {}
    )
    validation = context.validation
    together = context.recipe.finetune.batch_size * context.processes.count
    context.callback.begin("evaluate", 1, len(validation), together, 0)
    try:
        metrics = metrics_of(
            model,
            validation,
            context.processes,
            chosen,
            context.task.measure,
            context.callback,
            calibrated,
            context.task.read,
        )
    finally:
        context.callback.end()
    counts = count_macs(counted or model, context.task.example(1), skips=chosen)
    results = tuple(ConfigResult(skip, metrics[skip], counts[skip].gmacs) for skip in chosen)
    return Summary(context.recipe.model.name, results)


def _calibrated(
    model: AdaptiveModel, skips: Sequence[str], context: RunContext, batches: int
) -> dict[str, nn.Module]:
    recipe, batch_size = context.recipe, context.recipe.finetune.batch_size
    still = context.task.unaugmented_batches(batch_size, batches, recipe.seed, context.place)
    context.callback.begin("calibrate", len(skips), len(still), batch_size, 0)
    try:
        return {skip: calibrate(model, _watched(still, context.callback), skip) for skip in skips}
    finally:
        context.callback.end()


def _watched(batches: Batches, callback: Callback) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        yield batch
        callback.batch(None, None)
