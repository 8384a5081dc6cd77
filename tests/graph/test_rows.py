"""Rows of unlike blocks: random networks, and the parts of one block, which make no row."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
import torch

import subpath
from mixed import Mixed, draw
from subpath.errors import NoResidualError
from subpath.sweep.equality import step, unequal

SEEDS, CHUNK = 5000, 250


def images() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def check(seeds: Iterable[int]) -> int:
    """Ask everything of the networks of some seeds; how many were converted."""
    converted = 0
    for seed in seeds:
        network = draw(seed)
        if network.expected():
            check_converted(network, seed)
            converted += 1
        else:
            with pytest.raises(NoResidualError):
                subpath.convert(network.build(), images())
    return converted


def check_converted(network: Mixed, seed: int) -> None:
    original = network.build()
    adaptive = subpath.convert(original, images())
    assert [stage.skippable for stage in adaptive.stages] == network.expected(), seed
    letters = ["FT"] * len(adaptive.stages)
    for config in map("".join, itertools.product(*letters)):
        skipped = zip(config, network.expected(), strict=True)
        by_hand = network.build({name for letter, row in skipped if letter == "T" for name in row})
        with torch.no_grad():
            assert torch.equal(adaptive(images(), skip=config), by_hand(images())), (seed, config)
    twins = {name for name in step(adaptive, images()) if "twin_norms." in name}
    got = {name: value for name, value in step(adaptive, images()).items() if name not in twins}
    assert not unequal(step(original, images()), got), seed


def test_random_networks() -> None:
    assert check(range(60)) > 40


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_many_random_networks(first: int) -> None:
    assert check(range(first, first + CHUNK)) > CHUNK / 2
