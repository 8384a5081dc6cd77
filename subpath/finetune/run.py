"""A whole run, from a recipe to a directory with weights, log and summary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..adaptive.model import AdaptiveModel
from ..calibrate import calibrate
from ..checkpoint import Architecture
from ..convert import convert
from ..errors import RecipeError
from ..measure import count_macs, useful_configs
from ..skip import SkipConfig
from .accuracy import accuracies, accuracy
from .criterion import make_criterion, make_mix, make_teacher
from .data import ImageFormat, Split, image_format, open_data
from .directory import (
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
from .engine import Learn, Training, distillation_learner, task_learner
from .loader import Batches, Place, TrainingBatches, held_back_batches, still_batches
from .network import architecture, in_sync, make_network, teacher_network
from .observer import Observer, Silent
from .phase import PhaseSection
from .processes import Processes, start_processes
from .read import read_recipe
from .recipe import Recipe
from .results import ConfigResult, Summary
from .resume import read_checkpoint, remove_checkpoints
from .seeds import set_seeds
from .student import Student
from .training import PHASES, Keeper, run_phase
from .updates import Updates, make_updates


@dataclass(frozen=True)
class _Scene:
    """What every step of a run needs."""

    recipe: Recipe
    folder: Path
    processes: Processes
    split: Split
    form: ImageFormat
    made: Architecture
    observer: Observer

    @property
    def place(self) -> Place:
        processes = self.processes
        pinned = processes.device.type == "cuda"
        return Place(processes.rank, processes.count, self.recipe.data.workers, pinned)

    @property
    def held_back(self) -> Batches:
        batch_size = self.recipe.finetune.batch_size
        return held_back_batches(self.split.held_back, self.form, batch_size, self.place)


def finetune(
    recipe: Recipe,
    directory: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    observer: Observer | None = None,
) -> Summary:
    """Run a recipe: train the original if it says so, convert, fine-tune, evaluate.

    The last epoch's weights are kept: choosing the best epoch on held-back data would make that
    data part of the training. Sets the global random seeds of Python, NumPy and torch. Started by
    ``accelerate launch`` or ``torchrun``, several processes share the work.

    Args:
        recipe: from :func:`read_recipe`.
        directory: where to write; default: the recipe's ``output``, else ``runs/<name>``.
        overwrite: replace an earlier run in that directory.
        resume: go on with the run in that directory, or begin it. On a CPU, the weights at the
            end are those of an uninterrupted run, bit for bit.
        observer: gets told about the progress.

    Returns:
        Accuracy and GMACs of the skip configs, as in ``summary.json``.

    Raises:
        RunError: the directory is not empty, the recipe to resume is another one, or the loss is
            no longer a number.
        DataError: the data cannot be read.
        ModelError, ConversionError, CheckpointError: the network cannot be made or converted, or
            a checkpoint cannot be read or written.
    """
    folder = output_directory(recipe, directory)
    recipe = _resolved(recipe, folder)
    check_directory(folder)
    with _threads(recipe.threads):
        return _run(recipe, folder, overwrite, resume, observer or Silent())


def evaluate(
    directory: str | os.PathLike[str],
    skips: Sequence[str] | None = None,
    *,
    calibrate_batches: int = 0,
    model: nn.Module | None = None,
    observer: Observer | None = None,
) -> Summary:
    """Evaluate a run on its held-back data.

    Args:
        directory: of the run.
        skips: the skip configs; default: all, or the useful ones of more than 32.
        calibrate_batches: give each config but super-net and base-net batch-norm statistics of
            its own, from so many batches of training images (see :func:`subpath.calibrate`).
        model: a fresh original; needed where the recipe names a callable, as no code is imported
            because a directory says so.
        observer: gets told about the progress.

    Raises:
        CheckpointError, RecipeError, DataError: the directory holds no complete run, or the data
            is gone.
        SkipConfigError: the network has no such config.
    """
    folder = Path(directory)
    adaptive = checkpoint.load(folder, model)
    recipe = read_recipe(folder / RECIPE)
    processes = start_processes(recipe.device, recipe.precision)
    split = open_data(recipe.data, recipe.seed)
    form = image_format(recipe.data, adaptive)
    made = architecture(recipe, split.num_classes)
    scene = _Scene(recipe, folder, processes, split, form, made, observer or Silent())
    with _threads(recipe.threads):
        return _evaluate(adaptive.to(processes.device), skips, scene, calibrate_batches)


def _run(
    recipe: Recipe, folder: Path, overwrite: bool, resume: bool, observer: Observer
) -> Summary:
    """A run from start to end, step by step."""
    processes = start_processes(recipe.device, recipe.precision)
    resume = resume and (folder / RECIPE).is_file()
    if resume:
        check_same_recipe(folder, recipe)
        done = finished(folder)
        if done is not None:
            return done
    keeper = Keeper(folder, recipe, read_checkpoint(folder) if resume else None)
    set_seeds(recipe.seed)  # of the first weights
    split = open_data(recipe.data, recipe.seed)
    made = architecture(recipe, split.num_classes)
    network = make_network(recipe, made)
    form = image_format(recipe.data, network)
    observer = observer if processes.first else Silent()
    scene = _Scene(recipe, folder, processes, split, form, made, observer)
    model = _convert(network, scene)  # fails, if it must, before anything is done
    if processes.first and resume:
        shorten_log(folder, _epochs_done(keeper))
    elif processes.first:
        prepare(folder, recipe, overwrite)
    processes.wait()

    if recipe.train is not None and not keeper.is_past("train"):
        network = _train(network.to(processes.device), recipe.train, scene, keeper)
        model = _convert(network, scene)
    model = _finetune(model.to(processes.device), scene, keeper)

    if processes.first:
        checkpoint.save(model, folder, made, form.size)
    summary = _evaluate(model, None, scene)
    if processes.first:
        text = json.dumps(summary.to_dict(), indent=2) + "\n"
        checkpoint.write_atomically(folder / SUMMARY, text)
        remove_checkpoints(folder)
    return summary


def _train(network: nn.Module, phase: PhaseSection, scene: _Scene, keeper: Keeper) -> nn.Module:
    """Train the original network, before it is converted."""
    batches, updates = _phase(network, phase, scene, PHASES.index("train"))
    compiled: Any = torch.compile(updates.model) if scene.recipe.compile else updates.model
    learn = task_learner(compiled, updates, make_criterion(phase))
    training = _training("train", phase, batches, learn, updates, scene)

    def evaluate() -> dict[str, float]:
        return {"original": accuracy(updates.kept, scene.held_back, scene.processes)}

    run_phase(training, phase, evaluate, keeper, scene.observer)
    network.load_state_dict(updates.kept.state_dict())
    updates.thaw()
    return network


def _finetune(model: AdaptiveModel, scene: _Scene, keeper: Keeper) -> AdaptiveModel:
    """Train super-net and base-net together."""
    recipe, phase, stages = scene.recipe, scene.recipe.finetune, len(model.stages)
    _check_stages(recipe, stages)
    batches, updates = _phase(model, phase, scene, PHASES.index("finetune"))
    working = updates.model
    assert isinstance(working, AdaptiveModel)
    student = Student(working.train(), scene.processes, recipe.compile, recipe.recompute)
    section, teacher = recipe.distill.teacher, None
    if section is not None:
        teacher = make_teacher(teacher_network(section, scene.made), scene.processes)
    learn = distillation_learner(student, updates, make_criterion(phase), recipe.distill, teacher)
    training = _training("finetune", phase, batches, learn, updates, scene)
    ends = (SkipConfig.super_net(stages), SkipConfig.base_net(stages))

    kept = updates.kept
    assert isinstance(kept, AdaptiveModel)

    def evaluate() -> dict[str, float]:
        return accuracies(kept, scene.held_back, scene.processes, ends)

    def save_best() -> None:
        if scene.processes.first:
            checkpoint.save(kept, scene.folder / BEST, scene.made, scene.form.size)

    better = save_best if recipe.keep_best else None
    run_phase(training, phase, evaluate, keeper, scene.observer, better)
    model.load_state_dict(kept.state_dict())
    return model


def _phase(
    model: nn.Module, phase: PhaseSection, scene: _Scene, number: int
) -> tuple[TrainingBatches, Updates]:
    recipe, processes = scene.recipe, scene.processes
    batches = TrainingBatches(
        scene.split.train,
        scene.form,
        recipe.data.augment,
        phase.batch_size,
        (recipe.seed, number),
        scene.place,
    )
    per_epoch = len(batches) // phase.accumulate
    if per_epoch == 0:
        raise RecipeError(
            f"got accumulate: {phase.accumulate} and {len(batches)} batches in an epoch; expected "
            "at least one update in each"
        )
    if recipe.sync_batch_norm and processes.count > 1:
        model = in_sync(model, processes.device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)
    processes.same_everywhere(model)
    return batches, make_updates(model, phase, per_epoch, processes)


def _training(
    name: str,
    phase: PhaseSection,
    batches: TrainingBatches,
    learn: Learn,
    updates: Updates,
    scene: _Scene,
) -> Training:
    return Training(
        name,
        batches,
        make_mix(phase, scene.split.num_classes),
        learn,
        updates,
        phase.accumulate,
        (scene.recipe.seed, PHASES.index(name)),
        torch.channels_last if scene.recipe.channels_last else torch.contiguous_format,
    )


def _evaluate(
    model: AdaptiveModel, skips: Sequence[str] | None, scene: _Scene, calibrate_batches: int = 0
) -> Summary:
    stages = len(model.stages)
    chosen = [SkipConfig(skip, stages) for skip in skips or useful_configs(stages)]
    between = [skip for skip in chosen if 0 < len(skip.skipped) < stages]
    calibrated = _calibrated(model, between, scene, calibrate_batches) if calibrate_batches else {}
    held_back = scene.held_back
    together = scene.recipe.finetune.batch_size * scene.processes.count
    scene.observer.begin("evaluate", 1, len(held_back), together, 0)
    try:
        top1 = accuracies(model, held_back, scene.processes, chosen, scene.observer, calibrated)
    finally:
        scene.observer.end()
    counts = count_macs(model, torch.zeros(1, *scene.form.size), skips=chosen)
    results = tuple(ConfigResult(skip, top1[skip], counts[skip].gmacs) for skip in chosen)
    return Summary(scene.recipe.model.name, results)


def _calibrated(
    model: AdaptiveModel, skips: Sequence[str], scene: _Scene, batches: int
) -> dict[str, nn.Module]:
    recipe = scene.recipe
    images, batch_size = scene.split.train, recipe.finetune.batch_size
    still = still_batches(images, scene.form, batch_size, batches, recipe.seed, scene.place)
    scene.observer.begin("calibrate", len(skips), len(still), batch_size, 0)
    try:
        return {skip: calibrate(model, _watched(still, scene.observer), skip) for skip in skips}
    finally:
        scene.observer.end()


def _watched(batches: Batches, observer: Observer) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        yield batch
        observer.batch(None, None)


def _convert(network: nn.Module, scene: _Scene) -> AdaptiveModel:
    section = scene.recipe.convert
    device = next((p.device for p in network.parameters()), scene.processes.device)
    return convert(
        network,
        torch.zeros(2, *scene.form.size, device=device),
        groups=section.groups,
        skippable=section.skippable,
        blocks=section.blocks,
        twin_norms=section.twin_norms,
    )


def _check_stages(recipe: Recipe, stages: int) -> None:
    absent = [stage for stage in recipe.distill.stages or () if stage >= stages]
    if absent:
        raise RecipeError(
            f"got distill.stages: {list(recipe.distill.stages or ())} for a network of {stages} "
            f"stages; expected numbers from 0 to {stages - 1}"
        )


def _epochs_done(keeper: Keeper) -> dict[str, int]:
    if keeper.saved is None:
        return {}
    done = {"train": keeper.recipe.train.epochs} if keeper.recipe.train is not None else {}
    return {**done, str(keeper.saved["phase"]): int(keeper.saved["epoch"])}


def _resolved(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with paths that hold from any directory."""
    root = recipe.data.root
    data = recipe.data.model_copy(update={"root": root and str(Path(root).resolve())})
    return recipe.model_copy(update={"data": data, "output": str(folder)})


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
