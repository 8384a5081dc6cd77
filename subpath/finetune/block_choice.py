"""``skippable: auto``: the blocks to skip are those that hurt least on the recipe's data."""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from torch import nn

from ..adaptive.model import AdaptiveModel
from ..checkpoint import write_atomically
from ..errors import RecipeError
from .context import RunContext
from .diagnosis import sensitivity_of
from .run_directory import BLOCKS

_SAMPLES = 500


def check_budget(model: AdaptiveModel, context: RunContext) -> None:
    """Refuse a budget that cannot be reached when every block that can be is skipped.

    Args:
        model: cut so.
        context: of the run.

    Raises:
        RecipeError: it is such a budget.
    """
    wanted = context.recipe.convert.max_macs
    least = model.share_of_work("T" * len(model.stages))
    if wanted is not None and wanted < least:
        raise RecipeError(
            f"got convert.max_macs: {wanted}; expected at least {least:.3f}, the share of the MACs "
            "that is left when every block that can be skipped is"
        )


def with_chosen_blocks(network: nn.Module, context: RunContext, resume: bool) -> RunContext:
    """The context with a recipe that names the blocks to skip, if it leaves that to the data.

    Measured on 500 training samples, once in a run: a resumed one reads what was chosen.

    Args:
        network: the original, trained, on its device.
        context: of the run.
        resume: whether an earlier part of the run may have chosen.
    """
    section, path = context.recipe.convert, context.folder / BLOCKS
    if section.max_macs is None:
        return context
    if resume and path.is_file():
        blocks = json.loads(path.read_text())
    else:
        blocks = _choose(network, context, section.max_macs)
        if context.processes.first:
            write_atomically(path, json.dumps(blocks) + "\n")
    named = section.model_copy(
        update={"skippable": None, "max_macs": None, "blocks": tuple(blocks)}
    )
    return replace(context, recipe=context.recipe.model_copy(update={"convert": named}))


def _choose(network: nn.Module, context: RunContext, max_macs: float) -> list[str]:
    mode, processes = network.training, context.processes
    found = sensitivity_of(network.eval(), context.task, context.recipe, _SAMPLES, context.callback)
    network.train(mode)
    losses = torch.tensor([block.added_loss for block in found.blocks], device=processes.device)
    mean = (processes.sum(losses) / processes.count).tolist()  # the same to the bit for all
    pairs = zip(found.blocks, mean, strict=True)
    same = tuple(replace(block, added_loss=loss) for block, loss in pairs)
    return replace(found, blocks=same).least_hurt(max_macs)
