"""Folding: a closed gate is the block taken out by hand, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import subpath
import toys
from strategies import expected_skippable, networks
from subpath.adaptive.model import AdaptiveModel
from subpath.skip import SkipConfig
from toys import TOYS, Toy


def skipped(model: AdaptiveModel, config: SkipConfig) -> list[str]:
    """The blocks that ``config`` skips."""
    return [block for i in config.skipped for block in model.stages[i].skippable]


def check_every_config(toy: Toy) -> AdaptiveModel:
    """Each config of a converted toy computes what the toy without those blocks computes."""
    model, x = toy.build(), toy.input()
    adaptive = subpath.convert(model, x)
    with torch.no_grad():
        assert torch.equal(adaptive(x.clone()), model(x.clone()))
        for config in adaptive.skip_configs():
            by_hand = toy.by_hand(model, skipped(adaptive, config))
            assert torch.equal(adaptive(x.clone(), skip=config), by_hand(x.clone())), config
    return adaptive


@pytest.mark.parametrize("toy", toys.params())
def test_a_closed_gate_is_the_block_taken_out(toy: Toy) -> None:
    check_every_config(toy)


@given(networks())
@settings(max_examples=12)
def test_a_closed_gate_is_the_block_taken_out_of_random_networks(toy: Toy) -> None:
    adaptive = check_every_config(toy)
    cut = [known for known in toy.stages if len(known.blocks) > 1]
    assert [stage.skippable for stage in adaptive.stages] == [expected_skippable(k) for k in cut]
    assert [stage.name for stage in adaptive.stages] == [known.name for known in cut]


@pytest.mark.parametrize("name", ["post-activation", "in-place sum", "transformer"])
def test_training_is_that_of_the_network_with_the_blocks_taken_out(name: str) -> None:
    toy = TOYS[name]
    model, x = toy.build().train(), toy.input()
    adaptive = subpath.convert(model, x, twin_norms="none")
    for config in adaptive.skip_configs():
        by_hand = toy.by_hand(model, skipped(adaptive, config))
        fresh = copy.deepcopy(adaptive)
        fresh(x.clone(), skip=config).square().mean().backward()
        by_hand(x.clone()).square().mean().backward()
        got = {n: p.grad for n, p in fresh.named_parameters() if p.grad is not None}
        assert got
        expected = {n: p.grad for n, p in by_hand.named_parameters()}
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[n], expected[n]) for n in got), config
        buffers = dict(fresh.named_buffers())
        assert all(torch.equal(buffers[n], b) for n, b in by_hand.named_buffers()), config


def test_a_skipped_branch_does_not_run() -> None:
    toy = TOYS["pre-activation"]
    adaptive = subpath.convert(toy.build(), toy.input())
    ran: list[str] = []
    for path, module in adaptive.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, path=path: ran.append(path))
    adaptive(toy.input(), skip="TF")
    assert "layer1.1.conv1" in ran
    assert "layer2.1.conv1" in ran
    assert not any(path.startswith("layer1.2.") for path in ran)


def test_twins_run_when_their_own_stage_is_skipped() -> None:
    toy = TOYS["post-activation"]
    adaptive = subpath.convert(toy.build(), toy.input())
    used: set[str] = set()
    for path, module in adaptive.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, path=path: used.add(path))
    for config in adaptive.skip_configs():
        used.clear()
        adaptive(toy.input(), skip=config)
        for twin in adaptive.plan.twin_norms:
            closed = config.skips(twin.stage)
            assert (f"twin_norms.{twin.stage}.{twin.path}" in used) is closed
            assert (twin.path in used) is not closed


def test_the_stages_features_are_what_leaves_each_stage() -> None:
    toy = TOYS["squeeze-excite"]
    model, x = toy.build(), toy.input()
    adaptive = subpath.convert(model, x)
    for config in adaptive.skip_configs():
        by_hand = toy.by_hand(model, skipped(adaptive, config))
        seen: list[torch.Tensor] = []
        keep = lambda *args, seen=seen: seen.append(args[-1])  # noqa: E731
        for stage in (by_hand.layer1, by_hand.layer2):
            stage.register_forward_hook(keep)
        output = by_hand(x)
        got, features = adaptive.forward_features_of_stages(x, skip=config)
        assert torch.equal(got, output)
        assert all(torch.equal(a, b) for a, b in zip(features, seen, strict=True))


def test_a_write_into_the_sum_does_not_reach_the_shortcut() -> None:
    """A shortcut in the place of a sum that is written into must be a copy."""

    class WritesAfter(toys.PreActivation):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu_()

    toy = Toy(
        lambda: toys.ImageNet(8, {"stage": nn.Sequential(*(WritesAfter(8, 8) for _ in range(4)))}),
        (),
        lambda model, blocks: toys.put(model, {block: nn.ReLU() for block in blocks}),
    )
    check_every_config(toy)


def test_a_module_called_twice_is_gated_call_by_call() -> None:
    model = toys.randomise(toys.ImageNet(8, {"again": toys.Again(3)})).eval()
    x = torch.randn(2, 3, 8, 8)
    adaptive = subpath.convert(model, x, groups=1)
    assert adaptive.stages[0].skippable == ("again.block#3",)
    twice = copy.deepcopy(model)
    twice.again.times = 2
    assert torch.equal(adaptive(x, skip="T"), twice(x))


def state(model: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    return [(name, value.clone()) for name, value in model.state_dict().items()]


@pytest.mark.parametrize("toy", toys.params())
def test_the_original_is_left_as_it_was(toy: Toy) -> None:
    model = toy.build()
    before, attributes = state(model), {p: set(vars(m)) for p, m in model.named_modules()}
    subpath.convert(model, toy.input())(toy.input())
    assert attributes == {p: set(vars(m)) for p, m in model.named_modules()}
    assert [n for n, _ in before] == [n for n, _ in state(model)]
    pairs = zip(before, state(model), strict=True)
    assert all(torch.equal(old, new) for (_, old), (_, new) in pairs)


class ByName(nn.Module):
    """Takes a dict and gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.net = toys.two_stages(toys.PostActivation, (2, 2))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": self.net(batch["image"])}


def test_tensors_inside_containers_go_in_and_out() -> None:
    model = toys.randomise(ByName()).eval()
    batch = {"image": torch.randn(2, 3, 8, 8)}
    adaptive = subpath.convert(model, (batch,))
    assert torch.equal(adaptive(batch)["logits"], model(batch)["logits"])


@pytest.mark.parametrize(
    "forward", [lambda x, y: sum([x, y]), lambda x, y: torch.add(input=x, other=y)]
)
def test_other_spellings_of_a_sum(forward: Callable[..., torch.Tensor]) -> None:
    class Spelled(toys.ChoosyBranch):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return forward(x, self.norm(x))

    check_every_config(Toy(lambda: toys.separate_downsample(Spelled, (2, 3)), ()))
