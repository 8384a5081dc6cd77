"""Stages: rows of blocks of one shape, as their construction says."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import toys
from strategies import networks
from subpath.graph.module_calls import CallTree
from subpath.graph.read import read
from subpath.graph.stages import channel_dim, find_stages
from toys import TOYS, ImageNet, Known, Toy, row, two_stages


def stages_of(model: nn.Module, x: torch.Tensor) -> tuple[Known, ...]:
    return known(read(model, (x,)).tree)


def known(tree: CallTree) -> tuple[Known, ...]:
    return tuple(
        Known(
            stage.name,
            tuple(block.name for block in stage.blocks),
            tuple(block.name for block in stage.blocks if block.block is None),
        )
        for stage in find_stages(tree)
    )


@pytest.mark.parametrize("toy", toys.params())
def test_stages_of_the_toys(toy: Toy) -> None:
    assert stages_of(toy.build(), toy.input()) == toy.stages


@given(networks())
@settings(max_examples=20)
def test_stages_of_random_networks(toy: Toy) -> None:
    assert stages_of(toy.build(), toy.input()) == toy.stages


@pytest.mark.parametrize("depths", [(3, 1), (1, 4), (2, 2), (6, 5)])
def test_depths(depths: tuple[int, int]) -> None:
    found = stages_of(two_stages(toys.PostActivation, depths), torch.zeros(2, 3, 8, 8))
    expected = (row("layer1", depths[0]), row("layer2", depths[1], fixed=1))
    cut = [tuple(s for s in stages if s.blocks != s.fixed) for stages in (found, expected)]
    assert cut[0] == cut[1]


def test_the_shape_is_that_of_the_output() -> None:
    tree = read(two_stages(toys.PostActivation, (2, 2)), (torch.zeros(2, 3, 8, 6),)).tree
    assert [stage.shape for stage in find_stages(tree)] == [(2, 8, 8, 6), (2, 16, 4, 3)]


def test_one_list_with_two_widths_is_two_stages_named_by_their_first_blocks() -> None:
    blocks = [toys.Bottleneck(8, 8), toys.Bottleneck(8, 8), toys.Bottleneck(8, 16, 2)]
    blocks += [toys.Bottleneck(16, 16), toys.Bottleneck(16, 16)]
    model = ImageNet(8, {"features": nn.Sequential(*blocks)}, 16)
    assert stages_of(model, torch.zeros(2, 3, 8, 8)) == (
        Known("features.0", ("features.0", "features.1")),
        Known("features.2", ("features.2", "features.3", "features.4"), ("features.2",)),
    )


def test_blocks_that_are_children_of_the_network_itself() -> None:
    model = ImageNet(8, {name: toys.PreActivation(8, 8) for name in ("a", "b", "c")})
    assert stages_of(model, torch.zeros(2, 3, 8, 8)) == (Known("a", ("a", "b", "c")),)


def test_two_kinds_of_block_in_one_row_are_one_stage() -> None:
    kinds = (toys.PreActivation, toys.Bottleneck, toys.PreActivation, toys.ChannelsLast)
    model = ImageNet(8, {"stage": nn.Sequential(*(kind(8, 8) for kind in kinds))})
    assert stages_of(model, torch.zeros(2, 3, 8, 8)) == (row("stage", 4),)


def test_a_last_block_of_its_own_name_joins_the_row_of_its_kind() -> None:
    parts = {"repeat": toys.stage(toys.PreActivation, 3, 8, 8), "last": toys.PreActivation(8, 8)}
    assert stages_of(ImageNet(8, parts), torch.zeros(2, 3, 8, 8)) == (
        Known("repeat", ("repeat.0", "repeat.1", "repeat.2", "last")),
    )


def test_a_container_of_one_resolution_is_one_stage() -> None:
    parts = [toys.PreActivation(8, 8), toys.PreActivation(8, 8), toys.Merging(8, 12)]
    parts += [toys.PreActivation(12, 8), toys.PreActivation(8, 8), toys.Merging(8, 12)]
    model = ImageNet(8, {"stage": nn.Sequential(*parts)}, 12)
    fixed = ("stage.2", "stage.3", "stage.5")
    assert stages_of(model, torch.zeros(2, 3, 8, 8)) == (
        Known("stage", tuple(f"stage.{i}" for i in range(6)), fixed),
    )


def test_rows_on_parallel_branches_are_one_stage() -> None:
    tree = read(toys.Parallel(2, 3), (torch.zeros(2, 3, 8, 8),)).tree
    stages = find_stages(tree)
    assert [stage.name for stage in stages] == ["mixes.0.branches", "mixes.1.branches"]
    for i, stage in enumerate(stages):
        names = [[block.name for block in row] for row in stage.rows]
        assert names == [[f"mixes.{i}.branches.{b}.{j}" for j in range(3)] for b in range(2)]


def test_rows_of_one_shape_below_one_container_are_one_stage() -> None:
    def tree_of_rows() -> nn.Module:
        rows = {f"tree{i}": toys.stage(toys.PreActivation, 2, 8, 8) for i in (1, 2)}
        return nn.Sequential(OrderedDict(rows))

    parts = {"level": tree_of_rows(), "down": nn.Conv2d(8, 16, 2, 2)}
    parts["stage"] = toys.stage(toys.PreActivation, 2, 16, 16)
    first, second = stages_of(ImageNet(8, parts, 16), torch.zeros(2, 3, 8, 8))
    assert first == Known("level", tuple(f"level.tree{i}.{j}" for i in (1, 2) for j in (0, 1)))
    assert second == row("stage", 2)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("post-activation", [1, 1]),
        ("channels last", [1, 1]),
        ("transformer", [2]),
        ("loop", [2]),
    ],
)
def test_channel_dim(name: str, dims: list[int]) -> None:
    toy = TOYS[name]
    tree = read(toy.build(), (toy.input(),)).tree
    assert [channel_dim(tree, stage.blocks[-1]) for stage in find_stages(tree)] == dims


def test_channel_dim_of_nhwc() -> None:
    class Nhwc(nn.Module):
        def __init__(self, width: int, out: int, stride: int = 1) -> None:
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.fc(self.norm(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks = nn.Conv2d(3, 8, 1), toys.stage(Nhwc, 3, 8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))

    tree = read(Model(), (torch.zeros(2, 3, 8, 8),)).tree  # 8 is also the height and width
    assert [channel_dim(tree, stage.blocks[-1]) for stage in find_stages(tree)] == [3]
