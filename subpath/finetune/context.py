"""The context of a run: what every step needs, and how a phase is set up from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from ..adaptive.model import AdaptiveModel
from ..checkpoint import Architecture
from ..conversion import convert
from ..errors import RecipeError
from ..fitting import fit
from .callback import Callback
from .engine import Learn, Training
from .loader import Batches, Place, SeededBatches, to_device
from .network import in_sync
from .phase import PhaseSection
from .processes import Processes
from .recipe import Recipe
from .sharding import shard
from .tasks import Task
from .training import PHASES
from .weight_updates import WeightUpdater, make_updater


@dataclass(frozen=True)
class RunContext:
    """What every step of a run needs.

    Attributes:
        recipe: of the run.
        folder: of the run.
        processes: who takes part.
        task: what is learned; fitted to the network.
        made: how the original is made.
        callback: is told about the progress.
    """

    recipe: Recipe
    folder: Path
    processes: Processes
    task: Task
    made: Architecture
    callback: Callback

    @property
    def place(self) -> Place:
        """Where batches go."""
        processes = self.processes
        pinned = processes.device.type == "cuda"
        return Place(processes.rank, processes.count, self.recipe.data.workers, pinned)

    @cached_property
    def validation(self) -> Batches:
        """This process's share of the validation data."""
        return self.task.validation_batches(self.recipe.finetune.batch_size, self.place)


def make_phase(
    model: nn.Module, phase: PhaseSection, context: RunContext, number: int
) -> tuple[SeededBatches, WeightUpdater]:
    """The training data of a phase, and what changes the weights.

    Raises:
        DataError: there is too little data for one batch.
        RecipeError: there are too few batches for one update, or an argument is wrong.
    """
    recipe, processes = context.recipe, context.processes
    seeds = (recipe.seed, number)
    batches = context.task.training_batches(phase.batch_size, seeds, context.place)
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
    if recipe.shard:
        assert isinstance(model, AdaptiveModel)
        shard(model, processes)
    else:
        processes.broadcast(model)
    return batches, make_updater(model, phase, per_epoch, processes)


def make_training(
    name: str,
    phase: PhaseSection,
    batches: SeededBatches,
    learn: Learn,
    updater: WeightUpdater,
    context: RunContext,
) -> Training:
    """A phase, ready to run."""
    return Training(
        name,
        batches,
        context.task.mix(phase),
        learn,
        updater,
        phase.accumulate,
        (context.recipe.seed, PHASES.index(name)),
        torch.channels_last if context.recipe.channels_last else torch.contiguous_format,
    )


def converted(network: nn.Module, context: RunContext) -> AdaptiveModel:
    """The adaptive model of ``network``, cut as the recipe says; ``auto``: as far as it can be."""
    section = context.recipe.convert
    device = next((p.device for p in network.parameters()), context.processes.device)
    return convert(
        network,
        to_device(context.task.example(2), device),
        groups=section.groups,
        skippable="all" if section.skippable == "auto" else section.skippable,
        blocks=section.blocks,
        twin_norms=section.twin_norms,
        low_rank=section.low_rank,
    )


def fitted(model: AdaptiveModel, context: RunContext) -> AdaptiveModel:
    """``model`` with the patches that the recipe asks for."""
    section = context.recipe.fit
    if section is not None:
        count = max(1, section.images // section.batch_size)
        size, seed = section.batch_size, context.recipe.seed
        batches = list(context.task.unaugmented_batches(size, count, seed, Place()))
        cost, mask = section.max_cost, context.task.padding
        fit(model, batches, rank=section.rank, max_cost=cost, mask=mask)
    return model


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch compute on so many CPU threads; ``None`` leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
