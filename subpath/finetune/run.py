"""A whole run, from a recipe to a directory with weights, log and summary."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils import random_seed
from torch import nn

from .. import checkpoint
from ..adaptive.model import AdaptiveModel
from ..convert import convert
from ..errors import RecipeError, RunError
from ..measure import count_macs, useful_configs
from ..skip import SkipConfig
from .accuracy import accuracies, accuracy
from .data import (
    Batches,
    ImageFormat,
    Split,
    held_back_loader,
    image_format,
    open_data,
    training_loader,
)
from .engine import EpochLosses, Trainer, finetune_epoch, make_trainer, train_epoch
from .network import architecture, make_network
from .observer import Observer, Silent
from .read import read_recipe, write_recipe
from .recipe import PhaseSection, Recipe

RECIPE, LOG, SUMMARY = "recipe.yaml", "log.jsonl", "summary.json"


@dataclass(frozen=True)
class ConfigResult:
    """One skip config on held-back data.

    Attributes:
        skip: the config.
        top1: accuracy in percent.
        gmacs: multiply-adds for one image, in 10^9 (papers print them as GFLOPs).
    """

    skip: str
    top1: float
    gmacs: float


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
        model: timm name of the original.
        configs: one result for each skip config, super-net first.
    """

    model: str
    configs: tuple[ConfigResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"model": ..., "skip": {"FFFF": {"top1": percent, "gmacs": ...}, ...}}``."""
        results = {c.skip: {"top1": c.top1, "gmacs": c.gmacs} for c in self.configs}
        return {"model": self.model, "skip": results}


@dataclass(frozen=True)
class _Scene:
    """What every step of a run needs."""

    recipe: Recipe
    folder: Path
    device: torch.device
    split: Split
    form: ImageFormat
    observer: Observer


def finetune(
    recipe: Recipe,
    directory: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Summary:
    """Run a recipe: train the original if it says so, convert, fine-tune, evaluate.

    The last epoch's weights are kept: choosing the best epoch on held-back data would make that
    data part of the training. Sets the global random seeds of Python, NumPy and torch.

    Args:
        recipe: from :func:`read_recipe`.
        directory: where to write; default: the recipe's ``output``, else ``runs/<name>``.
        overwrite: replace an earlier run in that directory.
        observer: gets told about the progress.

    Returns:
        Accuracy and GMACs of the skip configs, as in ``summary.json``.

    Raises:
        RunError: the directory is not empty, or the loss is no longer a number.
        DataError: the data cannot be read.
        ModelError, ConversionError, CheckpointError: the network cannot be made or converted.
    """
    folder = output_directory(recipe, directory)
    recipe = _resolved(recipe, folder)
    with _threads(recipe.threads):
        return _run(recipe, folder, overwrite, observer or Silent())


def evaluate(
    directory: str | os.PathLike[str],
    skips: Sequence[str] | None = None,
    *,
    observer: Observer | None = None,
) -> Summary:
    """Evaluate a run on its held-back data.

    Args:
        directory: of the run.
        skips: the skip configs; default: all, or the useful ones of more than 32.
        observer: gets told about the progress.

    Raises:
        CheckpointError, RecipeError, DataError: the directory holds no complete run, or the data
            is gone.
        SkipConfigError: the network has no such config.
    """
    folder = Path(directory)
    model = checkpoint.load(folder)
    recipe = read_recipe(folder / RECIPE)
    device = _device(recipe)
    split = open_data(recipe.data, recipe.seed)
    form = image_format(recipe.data, model)
    scene = _Scene(recipe, folder, device, split, form, observer or Silent())
    with _threads(recipe.threads):
        return _evaluate(model.to(device), skips, scene)


def output_directory(recipe: Recipe, directory: str | os.PathLike[str] | None = None) -> Path:
    """Where a run writes: ``directory``, else the recipe's ``output``, else ``runs/<name>``."""
    return Path(directory or recipe.output or Path("runs") / (recipe.name or "recipe"))


def _run(recipe: Recipe, folder: Path, overwrite: bool, observer: Observer) -> Summary:
    """A run from start to end, step by step."""
    random_seed(recipe.seed)
    device = _device(recipe)
    split = open_data(recipe.data, recipe.seed)
    made = architecture(recipe, split.num_classes)
    network = make_network(recipe, made)
    form = image_format(recipe.data, network)
    scene = _Scene(recipe, folder, device, split, form, observer)
    _convert(network, scene)  # a network that cannot be converted fails before anything is done
    _prepare(folder, overwrite)
    checkpoint.write_atomically(folder / RECIPE, write_recipe(recipe))

    network.to(device)
    if recipe.train is not None:
        _train(network, recipe.train, scene)
    model = _convert(network, scene)
    _finetune(model, scene)

    checkpoint.save(model, folder, made, form.size)
    summary = _evaluate(model, None, scene)
    checkpoint.write_atomically(folder / SUMMARY, json.dumps(summary.to_dict(), indent=2) + "\n")
    return summary


def _train(network: nn.Module, phase: PhaseSection, scene: _Scene) -> None:
    """Train the original network, before it is converted."""
    batches, held_back, trainer = _phase(network, phase, scene)
    _repeat(
        "train",
        phase,
        trainer,
        epoch=lambda: train_epoch(network, batches, trainer, scene.observer),
        evaluation=lambda: {"original": accuracy(network, held_back, scene.device)},
        batches=len(batches),
        scene=scene,
    )


def _finetune(model: AdaptiveModel, scene: _Scene) -> None:
    """Train super-net and base-net together."""
    phase, stages = scene.recipe.finetune, len(model.stages)
    batches, held_back, trainer = _phase(model, phase, scene)
    ends = (SkipConfig.super_net(stages), SkipConfig.base_net(stages))
    _repeat(
        "finetune",
        phase,
        trainer,
        epoch=lambda: finetune_epoch(model, batches, trainer, scene.recipe.distill, scene.observer),
        evaluation=lambda: accuracies(model, held_back, scene.device, ends),
        batches=len(batches),
        scene=scene,
    )


def _phase(
    model: nn.Module, phase: PhaseSection, scene: _Scene
) -> tuple[Batches, Batches, Trainer]:
    data, split = scene.recipe.data, scene.split
    batches = training_loader(split.train, scene.form, data.augment, phase.batch_size, data.workers)
    trainer = make_trainer(model, phase, len(batches), split.num_classes, scene.device)
    return batches, _held_back(scene), trainer


def _held_back(scene: _Scene) -> Batches:
    batch_size = scene.recipe.finetune.batch_size
    workers = scene.recipe.data.workers
    return held_back_loader(scene.split.held_back, scene.form, batch_size, workers)


def _repeat(
    name: str,
    phase: PhaseSection,
    trainer: Trainer,
    *,
    epoch: Callable[[], EpochLosses],
    evaluation: Callable[[], Mapping[str, float]],
    batches: int,
    scene: _Scene,
) -> None:
    """All epochs of a phase, one line in the log for each."""
    scene.observer.begin(name, phase.epochs, batches, phase.batch_size)
    try:
        for number in range(1, phase.epochs + 1):
            learning_rate = trainer.learning_rate
            losses = epoch()
            if not math.isfinite(losses.loss):
                raise RunError(
                    f"got a loss of {losses.loss} in epoch {number} of {name}; expected a finite "
                    f"number. Lower {name}.optimiser.lr, or add {name}.schedule.warmup_epochs"
                )
            top1 = dict(evaluation())
            record = {"phase": name, "epoch": number, "lr": learning_rate, **asdict(losses)}
            _log(scene, {**record, "top1": top1})
    finally:
        scene.observer.end()


def _log(scene: _Scene, record: Mapping[str, Any]) -> None:
    with (scene.folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    scene.observer.epoch(record)


def _evaluate(model: AdaptiveModel, skips: Sequence[str] | None, scene: _Scene) -> Summary:
    stages = len(model.stages)
    chosen = [SkipConfig(skip, stages) for skip in skips or useful_configs(stages)]
    held_back = _held_back(scene)
    scene.observer.begin("evaluate", 1, len(held_back), scene.recipe.finetune.batch_size)
    try:
        top1 = accuracies(model, held_back, scene.device, chosen, scene.observer)
    finally:
        scene.observer.end()
    counts = count_macs(model, torch.zeros(1, *scene.form.size), skips=chosen)
    results = tuple(ConfigResult(skip, top1[skip], counts[skip].gmacs) for skip in chosen)
    return Summary(scene.recipe.model.name, results)


def _convert(network: nn.Module, scene: _Scene) -> AdaptiveModel:
    section = scene.recipe.convert
    device = next((p.device for p in network.parameters()), scene.device)
    return convert(
        network,
        torch.zeros(2, *scene.form.size, device=device),
        groups=section.groups,
        skippable=section.skippable,
        blocks=section.blocks,
        twin_norms=section.twin_norms,
    )


def _resolved(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with paths that hold from any directory."""
    root = recipe.data.root
    data = recipe.data.model_copy(update={"root": root and str(Path(root).resolve())})
    return recipe.model_copy(update={"data": data, "output": str(folder)})


def _device(recipe: Recipe) -> torch.device:
    if recipe.device == "auto":
        found = torch.accelerator.current_accelerator()
        usable = found is not None and torch.accelerator.is_available()
        return found if found is not None and usable else torch.device("cpu")
    device = torch.device(recipe.device)
    try:
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RecipeError(
            f"got device: {recipe.device}, which cannot be used here ({error}); expected auto, or "
            "a device of this machine"
        ) from error
    return device


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(folder: Path, overwrite: bool) -> None:
    """Make the directory; what an earlier run left there must not be taken for this run's."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"got the output {folder}, which is a file; expected a directory")
    # A run that failed before its first epoch leaves its recipe alone.
    if folder.is_dir() and any(path.name != RECIPE for path in folder.iterdir()):
        if not overwrite:
            raise RunError(
                f"got the output directory {folder}, which is not empty; expected a new one "
                "(--output DIR), or --overwrite to replace the run in it"
            )
        for name in (checkpoint.DESCRIPTION, RECIPE, LOG, SUMMARY):
            (folder / name).unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"got the output directory {folder}, which cannot be made: {error}"
        ) from error
