"""Whether a written file computes what torch computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch.utils._pytree import tree_leaves

from ..errors import ExportError
from ..progress import OnProgress, first_of
from ..skip import SkipConfig, skip_configs
from .source import Source

TOLERANCE = 1e-4

Run = Callable[[SkipConfig, tuple[torch.Tensor, ...]], Sequence[torch.Tensor]]
"""Runs a written file: the config, the inputs, and what it gives out."""

_MOST = 64  # all configs of six stages


def configs_to_check(stages: int) -> tuple[SkipConfig, ...]:
    """All configs; of more than 64, the ends and those one letter away from them."""
    if 2**stages <= _MOST:
        return tuple(skip_configs(stages))
    ends = SkipConfig.super_net(stages), SkipConfig.base_net(stages)
    found = dict.fromkeys(ends)
    for place, end in product(range(stages), ends):
        letter = "T" if end[place] == "F" else "F"
        found[SkipConfig(end[:place] + letter + end[place + 1 :], stages)] = None
    return tuple(found)


def largest_difference(
    source: Source, configs: Sequence[SkipConfig], run: Run, on_progress: OnProgress
) -> float:
    """The largest absolute difference between a file and torch, on random inputs.

    The super-net and the base-net (or the only config) run with two batch sizes if that is free.

    Raises:
        ExportError: it is larger than 1e-4, or than 1e-4 of the largest output where that is above
            1, or than 1 % of it (outputs of an untrained network can all be small); or the outputs
            have other shapes, or are not numbers.
    """
    worst = 0.0
    for config in first_of(configs, None, "comparing configs with torch", on_progress):
        ends = config == configs[0] or config.count("T") == len(config)
        for size in (1, 3) if source.free and ends else (1,):
            inputs = source.batch(size)
            with torch.no_grad():
                expected = tree_leaves(source.model(*inputs, skip=config))
            worst = max(worst, _difference(config, expected, run(config, inputs)))
    return worst


def _difference(
    config: SkipConfig, expected: Sequence[torch.Tensor], got: Sequence[torch.Tensor]
) -> float:
    shapes = [[list(value.shape) for value in values] for values in (got, expected)]
    if shapes[0] != shapes[1]:
        raise ExportError(
            f"got outputs of the shapes {shapes[0]} from the file that was written, with "
            f"{config}; expected {shapes[1]}, as from torch. Nothing is kept; please report it"
        )
    worst = 0.0
    for one, other in zip(expected, got, strict=True):
        if not one.numel():
            continue
        difference = float((one.double() - other.double()).abs().max())
        largest = float(one.abs().max())
        allowed = min(TOLERANCE * max(1.0, largest), 0.01 * largest + 1e-9)
        if not difference <= allowed:  # also if it is not a number
            raise ExportError(
                f"got a difference of {difference:.2g} between the file that was written and "
                f"torch, with {config} on random inputs; expected at most {allowed:.2g}. Nothing "
                "is kept. A network with weights that are not numbers, or one that draws random "
                "numbers in eval mode, cannot be exported; anything else is a bug to report"
            )
        worst = max(worst, difference)
    return worst
