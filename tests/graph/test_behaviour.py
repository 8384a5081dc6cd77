"""Behaviours are found by trying: norms, activations, identities of torch, timm and users."""

from __future__ import annotations

import copy
import inspect

import pytest
import timm.layers
import torch
import torchvision
from torch import fx, nn
from torch.nn import functional as F

import toys
from subpath.graph.behaviour import Traits, is_normalisation, same_function, traits

TORCH_NORMS = [
    nn.BatchNorm1d(6),
    nn.BatchNorm2d(6),
    nn.BatchNorm3d(6),
    nn.SyncBatchNorm(6),
    nn.GroupNorm(2, 6),
    nn.InstanceNorm2d(6, affine=True),
    nn.LayerNorm(6),
    nn.RMSNorm(6),
    nn.BatchNorm2d(6, affine=False),  # it has statistics
    nn.BatchNorm2d(6, track_running_stats=False),
]


class HandWrittenRms(nn.Module):
    """A norm that no library lists."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x * x.square().mean(-1, keepdim=True).add(1e-8).rsqrt()


class OverMiddle(nn.LayerNorm):
    """Over the channels of (batch, channels, positions)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 1)).permute(0, 2, 1)


class Affine(nn.Module):
    """ResMLP's stand-in for a norm, which normalises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift, self.gain, x)


NO_NORMS = [
    nn.LayerNorm(6, elementwise_affine=False),  # nothing to twin
    nn.BatchNorm2d(6, affine=False, track_running_stats=False),
    nn.Conv2d(6, 6, 1),
    nn.Linear(6, 6),
    nn.Linear(6, 1),
    nn.PReLU(6),
    nn.ReLU(),
    nn.Identity(),
    nn.Sequential(nn.BatchNorm2d(6)),
    timm.layers.LayerScale(6),
    timm.layers.LayerScale2d(6),
    timm.layers.grn.GlobalResponseNorm(6),
    torchvision.ops.FrozenBatchNorm2d(6),
    toys.GlobalResponseNorm(6),
    toys.JustScale(nn.Parameter(torch.ones(6, 1, 1))),
    Affine(),
]


@pytest.mark.parametrize(
    "module", [*TORCH_NORMS, HandWrittenRms(), OverMiddle(6)], ids=lambda m: str(m)[:60]
)
def test_norms(module: nn.Module) -> None:
    assert is_normalisation(module)


@pytest.mark.parametrize("module", NO_NORMS, ids=lambda m: str(m)[:60])
def test_no_norms(module: nn.Module) -> None:
    assert not is_normalisation(module)


NORM_FILES = ("norm", "norm_act", "evo_norm", "filter_response_norm", "split_batchnorm")
NO_TIMM_NORMS = {
    "FrozenBatchNormAct2d",  # its statistics never change
}


def _timm_norms() -> list[object]:
    """Every module class in timm's files of norms, as one parameter each."""
    classes = (getattr(timm.layers, name) for name in dir(timm.layers))
    found = [
        c
        for c in classes
        if inspect.isclass(c)
        and issubclass(c, nn.Module)
        and c.__module__.rpartition(".")[2] in NORM_FILES
        and c.__name__ not in NO_TIMM_NORMS
    ]
    return [pytest.param(c, id=c.__name__) for c in dict.fromkeys(found)]


def test_timm_has_the_norms_that_the_sweep_is_for() -> None:
    assert len(_timm_norms()) > 30


@pytest.mark.parametrize("norm", _timm_norms())
def test_norms_of_timm(norm: type[nn.Module]) -> None:
    assert is_normalisation(norm(64))


@pytest.mark.parametrize("name", sorted(NO_TIMM_NORMS))
def test_no_norms_of_timm(name: str) -> None:
    assert not is_normalisation(getattr(timm.layers, name)(64))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_norm_is_known_by_its_kind_not_by_its_weights_or_device(device: str) -> None:
    assert is_normalisation(toys.randomise(nn.LayerNorm(6)).to(device))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("module", [*TORCH_NORMS, HandWrittenRms()], ids=lambda m: str(m)[:60])
def test_a_norm_is_known_in_any_precision(module: nn.Module, dtype: torch.dtype) -> None:
    assert is_normalisation(copy.deepcopy(module).to(dtype))
    assert not is_normalisation(nn.Linear(6, 6).to(dtype))


def test_probing_leaves_the_module_and_the_random_state_alone() -> None:
    module = nn.BatchNorm2d(6).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    is_normalisation(module)
    is_normalisation(HandWrittenRms())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def traits_of(function: object) -> Traits:
    """The traits of a function or module that takes one tensor."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    if isinstance(function, nn.Module):
        return traits(graph.call_module("m", (x,)), {"m": function})
    if isinstance(function, str):
        return traits(graph.call_method(function, (x,)), {})
    return traits(graph.call_function(function, (x,)), {})


IDEMPOTENT = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardtanh(),
    F.relu,
    torch.relu_,
    "relu",
]
ONLY_POINTWISE = [nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.1), nn.Hardswish(), F.gelu, torch.tanh]
IDENTITIES = [nn.Identity(), nn.Dropout(0.5), nn.Dropout2d(0.5), timm.layers.DropPath(0.5), "clone"]
NOTHING = [
    nn.Softmax(1),
    nn.BatchNorm2d(4),
    nn.PReLU(4),
    nn.AvgPool2d(3, 1, 1),
    nn.Flatten(),
    "mean",
]


def label(function: object) -> str:
    """A name that is the same in every process."""
    return str(getattr(function, "__name__", function))


@pytest.mark.parametrize("function", IDEMPOTENT, ids=label)
def test_idempotent_activations(function: object) -> None:
    found = traits_of(function)
    assert found == Traits(pointwise=True, idempotent=True)
    assert found.activation


@pytest.mark.parametrize("function", ONLY_POINTWISE, ids=label)
def test_activations_that_do_more_the_second_time(function: object) -> None:
    assert traits_of(function) == Traits(pointwise=True)


@pytest.mark.parametrize("function", IDENTITIES, ids=label)
def test_identities(function: object) -> None:
    found = traits_of(function)
    assert found.identity
    assert not found.activation


@pytest.mark.parametrize("function", NOTHING, ids=label)
def test_neither(function: object) -> None:
    assert traits_of(function) == Traits()


def test_a_transpose_is_no_activation() -> None:
    assert traits_of(lambda x: x.transpose(2, 3)) == Traits()


def test_dropout_is_tried_without_touching_the_random_state() -> None:
    state = torch.random.get_rng_state()
    traits_of(nn.Dropout(0.5).train())
    traits_of(lambda x: F.dropout(x, 0.5, training=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_same_function_by_what_it_computes() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    modules: dict[str, nn.Module] = {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.1)}
    relu, leaky = graph.call_module("relu", (x,)), graph.call_module("leaky", (x,))
    function = graph.call_function(F.relu, (x,), {"inplace": True})
    assert same_function(relu, function, modules)
    assert not same_function(relu, leaky, modules)
