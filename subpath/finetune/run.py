"""A whole run, from a recipe to a directory with weights, log and summary."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import checkpoint
from ..adaptive.model import AdaptiveModel
from ..conversion import convert
from ..errors import RecipeError, RunError
from ..skip import SkipConfig
from .block_choice import check_budget, with_chosen_blocks
from .callback import Callback, NoCallback
from .config_runner import ConfigRunner
from .context import RunContext, converted, fitted, make_phase, make_training, threads
from .criterion import make_teacher
from .engine import distillation_learner, task_learner
from .evaluation import summarise
from .metrics import measured, metrics_of
from .network import make_network, teacher_network
from .phase import PhaseSection
from .processes import start_processes
from .recipe import Recipe
from .results import Summary
from .resume import read_checkpoint, remove_checkpoints
from .run_directory import (
    ADAPTER,
    BEST,
    RECIPE,
    SUMMARY,
    check_directory,
    check_same_recipe,
    finished,
    output_directory,
    prepare,
    shorten_log,
)
from .seeds import set_seeds
from .sharding import whole
from .tasks import open_task
from .training import PHASES, Checkpointer, Goodness, Metrics, run_phase


def finetune(
    recipe: Recipe,
    directory: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    callback: Callback | None = None,
) -> Summary:
    """Run a recipe: train the original if it says so, convert, fine-tune, evaluate.

    The last epoch's weights are kept: choosing the best epoch on validation data would make that
    data part of the training. Sets the global random seeds of Python, NumPy and torch. Started by
    ``accelerate launch`` or ``torchrun``, several processes share the work.

    Args:
        recipe: from :func:`read_recipe`.
        directory: where to write; default: the recipe's ``output``, else ``runs/<name>``.
        overwrite: replace an earlier run in that directory.
        resume: go on with the run in that directory, or begin it. On a CPU, the weights at the
            end are those of an uninterrupted run, bit for bit.
        callback: is told about the progress.

    Returns:
        Accuracy and GMACs of the skip configs, as in ``summary.json``.

    Raises:
        RunError: the directory is not empty, the recipe to resume is another one, the disk is
            full, or the loss is no longer a number.
        DataError: the data cannot be read.
        ModelError, ConversionError, CheckpointError: the network cannot be made or converted, or
            a checkpoint cannot be read or written.
    """
    folder = output_directory(recipe, directory)
    recipe = _resolved(recipe, folder)
    check_directory(folder)
    try:
        with threads(recipe.threads):
            return _run(recipe, folder, overwrite, resume, callback or NoCallback())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RunError(
            f"got a full disk while writing to {folder} ({error}); expected room. What was written "
            "before is still in place: make room and go on with --resume"
        ) from error


def _run(
    recipe: Recipe, folder: Path, overwrite: bool, resume: bool, callback: Callback
) -> Summary:
    """A run from start to end, step by step."""
    processes = start_processes(recipe.device, recipe.precision, recipe.shard)
    processes.wait()  # for the first to have written what all of them read
    resume = resume and (folder / RECIPE).is_file()
    if resume:
        check_same_recipe(folder, recipe)
        done = finished(folder)
        if done is not None:
            return done
    checkpointer = Checkpointer(folder, recipe, read_checkpoint(folder) if resume else None)
    set_seeds(recipe.seed)  # of the first weights
    task = open_task(recipe)
    made = task.architecture(recipe)
    network = make_network(recipe, made)
    callback = callback if processes.first else NoCallback()
    context = RunContext(recipe, folder, processes, task.fitted(network), made, callback)
    model = converted(network, context)  # fails, if it must, before anything is done
    check_budget(model, context)
    if processes.first and resume:
        shorten_log(folder, _epochs_done(checkpointer))
    elif processes.first:
        prepare(folder, recipe, overwrite)
    processes.wait()

    if recipe.train is not None and not checkpointer.is_past("train"):
        network = _train(network.to(processes.device), recipe.train, context, checkpointer)
    context = with_chosen_blocks(network.to(processes.device), context, resume)
    if recipe.train is not None or context.recipe is not recipe:
        model = converted(network, context)
    if not recipe.shard:  # else parts alone go to a device
        model.to(processes.device)
    model = _finetune(fitted(model, context), context, checkpointer)

    kept = _together(model, context) if recipe.shard else model
    summary = summarise(model, None, context, counted=kept)
    model = kept
    model.measured = summary.table()
    if processes.first:
        checkpoint.save(model, folder, made, context.task.input_size)
        if recipe.finetune.original == "frozen":
            checkpoint.save_adapter(model, folder / ADAPTER, made, context.task.input_size)
        text = json.dumps(summary.to_dict(), indent=2) + "\n"
        checkpoint.write_atomically(folder / SUMMARY, text)
        remove_checkpoints(folder)
    return summary


def _train(
    network: nn.Module, phase: PhaseSection, context: RunContext, checkpointer: Checkpointer
) -> nn.Module:
    """Train the original network, before it is converted."""
    batches, updater = make_phase(network, phase, context, PHASES.index("train"))
    compiled: Any = torch.compile(updater.model) if context.recipe.compile else updater.model
    task = context.task
    learn = task_learner(compiled, updater, task.criterion(phase), task.read)
    training = make_training("train", phase, batches, learn, updater, context)

    def evaluate() -> Metrics:
        kept, processes = updater.kept, context.processes
        return {"original": measured(kept, context.validation, processes, task.measure, task.read)}

    run_phase(training, phase, evaluate, checkpointer, context.callback)
    network.load_state_dict(updater.kept.state_dict())
    updater.unfreeze()
    return network


def _finetune(
    model: AdaptiveModel, context: RunContext, checkpointer: Checkpointer
) -> AdaptiveModel:
    """Train super-net and base-net together."""
    recipe, phase, stages = context.recipe, context.recipe.finetune, len(model.stages)
    _check_stages(recipe, stages)
    model.freeze_original(phase.original == "frozen")
    batches, updater = make_phase(model, phase, context, PHASES.index("finetune"))
    working = updater.model
    assert isinstance(working, AdaptiveModel)
    task, processes = context.task, context.processes
    student = ConfigRunner(
        working.train(), processes, recipe.compile, recipe.recompute, task.read, task.heard
    )
    section, teacher = recipe.distill.teacher, None
    if section is not None:
        teacher = make_teacher(teacher_network(section, context.made), processes, task.read)
    criterion = task.criterion(phase)
    learn = distillation_learner(
        student, updater, criterion, recipe.distill, teacher, task.outputs, task.padding
    )
    training = make_training("finetune", phase, batches, learn, updater, context)
    ends = (SkipConfig.super_net(stages), SkipConfig.base_net(stages))

    kept = updater.kept
    assert isinstance(kept, AdaptiveModel)

    def evaluate() -> Metrics:
        validation = context.validation
        return metrics_of(kept, validation, processes, ends, task.measure, read=task.read)

    def save_best() -> None:
        if context.processes.first:
            checkpoint.save(kept, context.folder / BEST, context.made, context.task.input_size)

    better = save_best if recipe.keep_best else None
    goodness = Goodness(task.metric, task.rising)
    run_phase(training, phase, evaluate, checkpointer, context.callback, better, goodness)
    model.load_state_dict(kept.state_dict())
    model.freeze_original(False)
    return model


def _together(model: AdaptiveModel, context: RunContext) -> AdaptiveModel:
    """A model whose weights are shared out, in one piece on the CPU."""
    network = make_network(context.recipe, context.made)
    example = context.task.example(2)
    one = convert(network, example, plan=model.plan, check=False)
    one.load_state_dict(whole(model.state_dict()))
    return one


def _check_stages(recipe: Recipe, stages: int) -> None:
    absent = [stage for stage in recipe.distill.stages or () if stage >= stages]
    if absent:
        raise RecipeError(
            f"got distill.stages: {list(recipe.distill.stages or ())} for a network of {stages} "
            f"stages; expected numbers from 0 to {stages - 1}"
        )


def _epochs_done(checkpointer: Checkpointer) -> dict[str, int]:
    if checkpointer.saved is None:
        return {}
    done = (
        {"train": checkpointer.recipe.train.epochs} if checkpointer.recipe.train is not None else {}
    )
    return {**done, str(checkpointer.saved["phase"]): int(checkpointer.saved["epoch"])}


def _resolved(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with paths that hold from any directory."""
    root = recipe.data.root
    data = recipe.data.model_copy(update={"root": root and str(Path(root).resolve())})
    return recipe.model_copy(update={"data": data, "output": str(folder)})
