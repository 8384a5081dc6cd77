"""Rows of unlike blocks: random networks, and the parts of one block, which make no row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from torch import nn

import subpath
import toys
from mixed import Mixed, draw
from subpath.errors import NoResidualError
from subpath.graph.blocks import find_blocks
from subpath.graph.equality import unequal
from subpath.graph.inputs import Inputs
from subpath.graph.module_calls import CallTree
from subpath.graph.positions import mixes_then_widens
from subpath.graph.read import read
from subpath.graph.similarity import alike
from subpath.sweep.comparison import training_step
from toys import ImageNet, PreNorm, Residual, conv

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
    twins = {name for name in training_step(adaptive, Inputs((images(),))) if "twin_norms." in name}
    got = {
        name: value
        for name, value in training_step(adaptive, Inputs((images(),))).items()
        if name not in twins
    }
    assert not unequal(training_step(original, Inputs((images(),))), got), seed


def test_random_networks() -> None:
    assert check(range(60)) > 40


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_many_random_networks(first: int) -> None:
    assert check(range(first, first + CHUNK)) > CHUNK / 2


class Mixer(Residual):
    """A class of its own for what mixes positions."""


def convolution(kernel: int = 3, norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(conv(8, 8, kernel=kernel), norm(8))


def mlp(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(norm(8), conv(8, 16, kernel=1), nn.GELU(), conv(16, 8, kernel=1))


def grouped(width: int) -> nn.Module:
    return nn.GroupNorm(1, width)


def pair(wrapper: type[nn.Module] = Residual, **arguments: object) -> nn.Module:
    return nn.Sequential(wrapper(convolution()), Residual(mlp(**arguments)))


def tree_of(parts: dict[str, nn.Module]) -> CallTree:
    return read(ImageNet(8, parts), (images(),)).tree


def names(parts: dict[str, nn.Module]) -> list[str]:
    return [block.name for block in find_blocks(tree_of(parts))]


def test_blocks_of_one_class_or_in_one_container_make_a_row() -> None:
    kinds = (toys.PreActivation, toys.ChannelsLast, toys.InPlaceSum)
    several = nn.Sequential(*(kind(8, 8) for kind in kinds))
    one = nn.Sequential(*(Residual(fn) for fn in (convolution(1), convolution(3, grouped))))
    assert names({"several": several}) == [f"several.{i}" for i in range(3)]
    assert names({"one": one}) == ["one.0", "one.1"]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, grouped])
def test_a_convolution_and_an_mlp_are_one_block(norm: Callable[[int], nn.Module]) -> None:
    model = ImageNet(8, {"one": pair(norm=norm), "down": conv(8, 8, 2), "two": pair()})
    assert [block.name for block in find_blocks(read(model, (images(),)).tree)] == ["one", "two"]
    with pytest.raises(NoResidualError, match="2 stages with one such block each"):
        subpath.plan(model, images())


def test_a_convolution_and_an_mlp_of_other_classes_are_one_block_if_they_come_again() -> None:
    assert names({"one": pair(Mixer), "down": conv(8, 8, 2), "two": pair(Mixer)}) == ["one", "two"]
    assert names({"one": pair(Mixer)}) == ["one.0", "one.1"]


@pytest.mark.parametrize("norms", [(nn.BatchNorm2d, nn.BatchNorm2d), (nn.BatchNorm2d, grouped)])
def test_pairs_that_follow_one_another_are_blocks(norms: Sequence[Callable[..., object]]) -> None:
    stage = nn.Sequential(*(pair(norm=norm) for norm in norms))
    assert names({"stage": stage}) == ["stage.0", "stage.1"]


def test_branches_of_one_forward_need_not_be_alike() -> None:
    def blocks(*branches: nn.Module) -> list[str]:
        return [b.name for b in find_blocks(read(toys.Loop(branches), (images(),)).tree)]

    def attention(norm: type[nn.Module]) -> nn.Module:
        return nn.Sequential(norm(8), toys.Attention(8))

    mixed = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    assert blocks(nn.Linear(8, 8), mixed, PreNorm(8, toys.Attention(8))) == [
        f"branches.{i}" for i in range(3)
    ]
    layers = [attention(nn.LayerNorm), toys.Mlp(8), attention(nn.RMSNorm)]
    assert len(blocks(*layers, nn.Sequential(toys.Mlp(8)))) == 2
    assert blocks(*layers[:2]) == []


def test_blocks_by_turns_are_pairs_only_if_they_are_attention_and_mlp() -> None:
    def branch(norm: type[nn.Module]) -> nn.Module:
        return nn.Sequential(norm(8), toys.Attention(8), nn.Linear(8, 8))

    mixers = toys.Loop([branch(norm) for norm in (nn.LayerNorm, nn.RMSNorm) * 2])
    found = find_blocks(read(mixers, (images(),)).tree)
    assert [block.name for block in found] == [f"branches.{i}" for i in range(4)]


def test_a_stage_is_no_sibling_of_the_one_block_before_it() -> None:
    one = nn.Sequential(Residual(mlp()))
    two = nn.Sequential(toys.PreActivation(8, 8, 2), toys.PreActivation(8, 8))
    plan = subpath.plan(ImageNet(8, {"one": one, "two": two}), images())
    assert [stage.skippable for stage in plan.stages] == [("two.1",)]


def test_a_stage_whose_later_half_has_no_identity_shortcut_is_called_so() -> None:
    stage = nn.Sequential(toys.PreActivation(8, 8), toys.Weighted(8, 8), toys.Weighted(8, 8))
    with pytest.raises(NoResidualError, match="1 stage with no such block in the later half"):
        subpath.plan(ImageNet(8, {"stage": stage}), images())


def test_what_is_alike_on_the_outside() -> None:
    block = toys.PostActivation(8, 8)
    assert alike(block, toys.PostActivation(8, 16, 2))
    assert not alike(block, toys.PreActivation(8, 8))
    assert alike(Residual(convolution(3)), Residual(convolution(1, grouped)))
    assert not alike(Residual(convolution(3)), Residual(mlp()))
    assert not alike(PreNorm(8, toys.Attention(8)), PreNorm(8, toys.Mlp(8)))
    assert alike(nn.ReLU(), nn.ReLU())


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (convolution(), mlp(), True),
        (convolution(), mlp(grouped), True),
        (convolution(), convolution(1), False),  # it is no wider inside
        (convolution(1), mlp(), False),
        (convolution(), nn.Sequential(mlp(), toys.SqueezeExcite(8)), False),
        (mlp(), convolution(), False),
    ],
)
def test_what_is_an_mlp_after_a_mixer(first: nn.Module, last: nn.Module, expected: bool) -> None:
    tree = tree_of({"stage": nn.Sequential(Residual(first), Residual(last))})
    blocks = {call.path: block for call, block in tree.removable.items()}
    assert mixes_then_widens(tree, [blocks["stage.0"], blocks["stage.1"]]) == expected
