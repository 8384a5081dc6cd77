"""Residual blocks: which calls can be taken out, and at which level."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import toys
from subpath.graph.block_level import parent
from subpath.graph.blocks import find_blocks, locate_blocks
from subpath.graph.module_calls import CallTree
from subpath.graph.read import read
from toys import TOYS, ImageNet, Toy


def tree_of(model: nn.Module, size: int = 8) -> CallTree:
    return read(toys.randomise(model), (torch.zeros(2, 3, size, size),)).tree


def names(model: nn.Module) -> list[str]:
    return [block.name for block in find_blocks(tree_of(model))]


@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_blocks_of_the_toys(toy: Toy) -> None:
    expected = [b for stage in toy.stages for b in stage.blocks if b not in stage.fixed]
    assert names(toy.build()) == expected


def test_a_stage_of_removable_blocks_is_not_one_block() -> None:
    model = toys.separate_downsample(toys.PreActivation, (2, 3))
    tree = tree_of(model)
    removable = {call.path for call in tree.removable}
    assert {"stage1", "stage1.0", "stage1.1", "stage2"} <= removable
    assert "stage1" not in [block.name for block in find_blocks(tree)]


def test_two_units_in_one_module_are_one_block() -> None:
    blocks = find_blocks(tree_of(toys.Tokens(3)))
    assert [block.name for block in blocks] == ["blocks.0", "blocks.1", "blocks.2"]
    assert {len(path.units) for block in blocks for path in block.paths} == {2}


def test_a_unit_inside_a_branch_is_no_block() -> None:
    model = toys.separate_downsample(toys.ChannelsLast, (2, 2))
    assert not any(name.endswith("grn") for name in names(model))


def test_blocks_in_a_row_follow_one_another() -> None:
    first, second, third = find_blocks(tree_of(toys.Tokens(3)))
    assert first.precedes(second)
    assert second.precedes(third)
    assert not first.precedes(third)
    assert not second.precedes(first)


def test_a_module_called_again_is_a_block_for_each_call() -> None:
    model = ImageNet(8, {"again": toys.Again(3)})
    assert names(model) == ["again.block", "again.block#2", "again.block#3"]


def test_attention_and_mlp_by_turns_in_one_list_are_pairs() -> None:
    layers = [toys.PreNorm(8, toys.Attention(8) if i % 2 == 0 else toys.Mlp(8)) for i in range(6)]
    blocks = find_blocks(tree_of(toys.Loop(layers)))
    assert len(blocks) == 3
    assert {len(path.units) for block in blocks for path in block.paths} == {2}


def test_a_row_goes_on_behind_what_is_no_block() -> None:
    blocks = find_blocks(tree_of(toys.BrokenLoop(3)))
    assert [sum(len(p.units) for p in block.paths) for block in blocks] == [3, 2, 2]


def test_a_row_goes_on_where_streams_come_together_again() -> None:
    blocks = find_blocks(tree_of(toys.Regions(3)))
    assert [sum(len(p.units) for p in block.paths) for block in blocks] == [2, 3, 3]


def test_a_block_that_swaps_height_and_width_keeps_the_swap() -> None:
    # Three swaps do not cancel (two would), so only the sums go.
    tree = tree_of(toys.separate_downsample(toys.LayoutStays, (1, 3)))
    blocks = find_blocks(tree)
    assert len(blocks) == 4
    assert all(node in tree.residual.units for block in blocks for node, _ in block.gates)
    assert not tree.removable


def test_what_a_reducible_block_leaves() -> None:
    model = toys.separate_downsample(toys.NormedShortcut, (2, 3))
    blocks = {block.name: block for block in find_blocks(tree_of(model))}
    assert list(blocks) == ["stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage2.2"]
    for name, block in blocks.items():
        left = {str(n.target) for n in block.nodes - block.skipped if n.op == "call_module"}
        gone = {str(n.target) for n in block.skipped if n.op == "call_module"}
        assert left == {f"{name}.norm"}
        assert gone == {f"{name}.conv"}


def test_a_block_that_cannot_be_opened_is_none_and_the_rest_is_found() -> None:
    class ChoosyBlock(toys.PreActivation):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.amax() < 1e6 else x

    parts = nn.Sequential(toys.PreActivation(8, 8), ChoosyBlock(8, 8), toys.PreActivation(8, 8))
    assert names(ImageNet(8, {"stage": parts})) == ["stage.0", "stage.2"]


@pytest.mark.parametrize("make", [toys.Dense, toys.plain])
def test_networks_without_a_block(make: type[nn.Module]) -> None:
    assert names(make()) == []


def test_located_blocks_are_those_found() -> None:
    tree = tree_of(toys.two_stages(toys.PostActivation, (2, 2)))
    found = {block.name: block for block in find_blocks(tree)}
    located = locate_blocks(tree, ["layer1.1", "layer2.1", "nowhere", "layer2.0"])
    assert located == {name: found[name] for name in ("layer1.1", "layer2.1")}


def test_parent() -> None:
    assert parent("stages.0.blocks.3") == "stages.0.blocks"
    assert parent("stem") == ""
