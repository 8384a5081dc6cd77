"""Additions: low-rank changes of mandatory layers' weights, in both ways of running."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import subpath
import toys
from subpath.errors import CheckpointError, ConversionError, PlanError, SubpathError
from subpath.graph.behaviour import is_linear_in_weight
from subpath.measure import count_macs


def filled(model: Any) -> Any:
    """``model`` with additions that change something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.skip_aware_parameters():
            if name.startswith("additions."):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def changed_by_hand(network: nn.Module, model: Any, skip: str) -> nn.Module:
    """A copy of the original with the weights that its layers have where ``skip`` runs."""
    copied, state = copy.deepcopy(network), model.state_dict()
    for number, stage in enumerate(model.stages):
        for path, layer in copied.named_modules():
            inside = any(f"{path}.".startswith(f"{block}.") for block in stage.mandatory)
            down = state.get(f"additions.{number}.{path}.down.weight")
            if skip[number] == "T" and inside and down is not None:
                up = state[f"additions.{number}.{path}.up.weight"].flatten(1)
                change = torch.einsum("or,r...->o...", up, down)
                layer.weight.data += change
    return copied


def both_ways(network: nn.Module, x: torch.Tensor, **arguments: Any) -> list[Any]:
    """The network converted to run from its graph and in place, as far as each is possible."""
    found = []
    for run in ("graph", "in place"):
        try:
            found.append(subpath.convert(network, x, run=run, **arguments))
        except SubpathError:
            continue
    return found


@pytest.mark.parametrize("toy", toys.params())
@torch.no_grad()
def test_a_config_is_the_network_with_changed_weights(toy):
    """By hand: other weights in a plain copy, which is then cut in the same way."""
    network, x = toy.build().double(), toy.input().double()
    models = both_ways(network, x, low_rank=2)
    assert models
    for model in models:
        fresh = subpath.convert(network, x, run=model.plan.run)
        for skip in model.skip_configs():
            assert torch.equal(model(x, skip=skip), fresh(x, skip=skip))
        filled(model)
        assert torch.equal(model(x), network(x))
        every = dict(model.outputs(x))
        for skip in model.skip_configs()[1:]:
            plan = replace(model.plan, additions=(), opened=fresh.plan.opened)
            by_hand = subpath.convert(changed_by_hand(network, model, skip), x, plan=plan)
            got = model(x, skip=skip)
            torch.testing.assert_close(got, by_hand(x, skip=skip))
            assert torch.equal(every[skip], got)
        alike = torch.allclose(got, fresh(x, skip=skip))
        assert alike == (not model.plan.additions)  # what cannot be looked into has no layers


class WrittenInto(nn.Module):
    """The output of a layer is rectified in its own memory, and nobody keeps what that gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.back = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mix(x)
        F.relu_(y)
        return x + self.back(y)


@torch.no_grad()
def test_what_is_written_into_a_layer_s_output_is_written_into_the_sum():
    network = toys.randomise(nn.Sequential(*(WrittenInto(4) for _ in range(4)))).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for model in both_ways(network, x, low_rank=1):
        filled(model)
        for skip in model.skip_configs():
            y = x
            for number, block in enumerate(changed_by_hand(network, model, skip)):
                if number % 2 == 0 or skip[number // 2] == "F":
                    y = block(y)
            torch.testing.assert_close(model(x, skip=skip), y)
            assert torch.equal(dict(model.outputs(x))[skip], model(x, skip=skip))


@pytest.mark.parametrize("in_place", [False, True])
def test_sub_networks_have_the_change_in_their_weights(in_place):
    toy = toys.TOYS["transformer"]
    network, x = toy.build().double(), toy.input().double()
    run = "in place" if in_place else "graph"
    plain = subpath.convert(network, x, run=run)
    model = filled(subpath.convert(network, x, run=run, low_rank=2))
    for skip in model.skip_configs():
        alone = model.subnet(skip)
        torch.testing.assert_close(alone(x), model(x, skip=skip))
        assert alone.state_dict().keys() == plain.subnet(skip).state_dict().keys()
    assert torch.equal(model(x), network(x))  # nothing of that reached the original's weights


def test_multiply_adds_are_those_of_the_formula():
    toy, rank = toys.TOYS["post-activation"], 2
    network, x = toy.build(), toy.input()
    sizes: dict[str, int] = {}
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _m, _x, y, path=path: sizes.update({path: y[0].numel()})
            )
    network(x)
    for model in both_ways(toy.build(), x, low_rank=rank):
        plain = subpath.convert(toy.build(), x, run=model.plan.run)
        more = dict.fromkeys(range(2), 0)
        for addition in model.plan.additions:
            weight = network.get_submodule(addition.path).weight
            places = sizes[addition.path] // addition.channels
            assert addition.rank == rank
            assert addition.channels == len(weight)
            more[addition.stage] += places * rank * (weight[0].numel() + len(weight))
        whole, bare = count_macs(model, x), count_macs(plain, x)
        for skip in model.skip_configs():
            added = sum(more[n] for n, letter in enumerate(skip) if letter == "T")
            assert whole[skip].macs == bare[skip].macs + added, skip
            # Its whole leaves out the norms' scales, but the additions are the same share of it.
            share, first = (model.share_of_work(s) - plain.share_of_work(s) for s in (skip, "TF"))
            assert share == pytest.approx(first * added / more[0]), skip
        used = sum(p.numel() for n, p in model.named_parameters() if n.startswith("additions."))
        assert whole["TT"].params == bare["TT"].params + used


def test_frozen_originals_learn_by_their_additions():
    toy = toys.TOYS["transformer"]
    network, x = toy.build(), toy.input()
    for model in both_ways(network, x, low_rank=2):
        model.freeze_original()
        model.train()
        learning = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.SGD(learning, lr=0.1)
        for _ in range(2):
            optimiser.zero_grad()
            subpath.distill.two_pass_step(model, x, torch.zeros(2).long(), F.cross_entropy)
            optimiser.step()
        moved = {n for n, p in model.named_parameters() if p.grad is not None}
        assert moved == {n for n, _ in model.skip_aware_parameters()}
        assert any(n.startswith("additions.") for n in moved)
        model.eval()
        assert torch.equal(model(x), network(x))


def test_saved_and_loaded_and_given_back(tmp_path):
    toy = toys.TOYS["post-activation"]
    network, x = toy.build(), toy.input()
    for model in both_ways(network, x, low_rank=2):
        filled(model)
        whole, adapter = tmp_path / f"{model.plan.run}", tmp_path / f"{model.plan.run} adapter"
        model.save(whole)
        model.save_adapter(adapter)
        for again in (
            subpath.load(whole, toy.build(), x),
            subpath.load_adapter(toy.build(), adapter, x),
            copy.deepcopy(model),
        ):
            assert again.plan == model.plan
            for skip in model.skip_configs():
                assert torch.equal(again(x, skip=skip), model(x, skip=skip))
        assert subpath.original_state_dict(model).keys() == network.state_dict().keys()
        subpath.load_original(model, network.state_dict())
        fresh = subpath.convert(network, x, plan=replace(model.plan))
        assert torch.equal(model(x, skip="TT"), fresh(x, skip="TT"))


def test_a_plan_that_names_other_layers_is_refused(tmp_path):
    toy = toys.TOYS["post-activation"]
    network, x = toy.build(), toy.input()
    model = subpath.convert(network, x, low_rank=2)
    first = model.plan.additions[0]
    for wrong in (
        replace(first, path="nowhere"),
        replace(first, path=model.plan.twin_norms[0].path),
        replace(first, channels=first.channels + 1),
        replace(first, rank=10**6),
    ):
        plan = replace(model.plan, additions=(wrong,))
        assert subpath.Plan.from_json(plan.to_json()) == plan
        with pytest.raises(PlanError, match=r"additions for|no module nowhere"):
            subpath.convert(network, x, plan=plan)
    model.save(tmp_path)
    network.layer1[0].conv1 = nn.Sequential(network.layer1[0].conv1)
    with pytest.raises(CheckpointError, match="layers of the plan that are not there"):
        subpath.load(tmp_path, network, x)
    for rank in (-1, 2.5, True, "8", None):
        with pytest.raises(PlanError, match=f"got low_rank={rank!r}"):
            subpath.convert(toy.build(), x, low_rank=rank)


def test_a_name_that_is_taken_is_refused():
    toy = toys.TOYS["post-activation"]
    network = toy.build()
    network.additions = nn.Identity()
    with pytest.raises(ConversionError, match="attribute 'additions'"):
        subpath.convert(network, toy.input(), low_rank=2)
    assert subpath.convert(network, toy.input()).plan.additions == ()


class Doubled(nn.Linear):
    """Linear in its weight, though its forward is its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Standardised(nn.Conv2d):
    """Not linear in its weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight / self.weight.std(), self.bias)


def test_what_takes_an_addition():
    timm = pytest.importorskip("timm")
    yes = [
        nn.Linear(5, 3),
        nn.Conv1d(4, 6, 3, stride=2),
        nn.Conv2d(4, 6, 3, padding=1, dilation=2),
        nn.Conv3d(4, 6, 2, bias=False),
        Doubled(5, 3),
        timm.layers.Conv2dSame(4, 6, 3, stride=2),
    ]
    no = [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.BatchNorm2d(4),
        nn.Embedding(4, 4),
        nn.ConvTranspose2d(4, 6, 2),
        Standardised(4, 6, 3),
        timm.layers.StdConv2d(4, 6, 3),
        nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)),
    ]
    assert [is_linear_in_weight(layer) for layer in yes] == [True] * len(yes)
    assert [is_linear_in_weight(layer) for layer in no] == [False] * len(no)
    with torch.device("meta"):
        assert is_linear_in_weight(nn.Linear(4096, 16384))


def test_half_precision():
    toy = toys.TOYS["transformer"]
    network, x = toy.build().to(torch.bfloat16), toy.input().to(torch.bfloat16)
    model = filled(subpath.convert(network, x, low_rank=2))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model(x, skip="TTTT"[: len(model.stages)]).dtype == torch.bfloat16
    assert torch.equal(model(x), network(x))
