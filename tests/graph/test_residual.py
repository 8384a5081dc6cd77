"""Residual units and identity paths, on forwards written for one question each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import toys
from subpath.graph.residual import Path, ResidualGraph
from subpath.graph.trace import is_torch_layer, trace
from toys import TOYS

Forward = Callable[["Model", torch.Tensor], torch.Tensor]


class Model(nn.Module):
    """A few layers and a forward that is handed in."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.f, self.g, self.h = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.down = nn.Conv2d(4, 4, 3, 2, 1)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.relu, self.act = nn.ReLU(), nn.GELU()
        self.drop = nn.Dropout(0.5)
        self.written = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.written(self, x)


def residual_of(forward: Forward, shape: tuple[int, ...] = (2, 4, 6, 6)) -> ResidualGraph:
    model = Model(forward)
    traced = trace(model, (torch.zeros(shape),), lambda _, m: is_torch_layer(m))
    return ResidualGraph(traced, dict(model.named_modules()))


def whole_path(residual: ResidualGraph) -> Path | None:
    """The identity path from the output to the first convolution ``f`` (the stem)."""
    nodes = list(residual.traced.graph.nodes)
    stem = next(i for i, node in enumerate(nodes) if node.target == "f")
    return residual.path(nodes[-1].args[0], frozenset(nodes[stem + 1 : -1]))


def units(forward: Forward) -> int:
    return len(residual_of(forward).units)


ONE_UNIT: dict[str, Forward] = {
    "plain": lambda m, x: x + m.f(x),
    "the branch on the left": lambda m, x: m.f(x) + x,
    "torch.add": lambda m, x: torch.add(x, m.f(x)),
    "scaled branch": lambda m, x: torch.add(x, m.f(x), alpha=0.5),
    "in place": lambda m, x: m.f(x).add_(x),
    "dropped branch": lambda m, x: x + m.drop(m.f(x)),
    "dropped shortcut": lambda m, x: m.drop(x) + m.f(x),
    "learned scale": lambda m, x: x * m.scale + m.f(x),
    "through NHWC": lambda m, x: (x.permute(0, 2, 3, 1) + m.f(x).permute(0, 2, 3, 1)).permute(
        0, 3, 1, 2
    ),
    "a branch with forks": lambda m, x: x + torch.cat([m.f(x)[:, :2], m.g(x)[:, 2:]], 1),
    "a branch with an add": lambda m, x: x + (m.f(x) + m.g(x)),
    "a branch that reads sizes": lambda m, x: x + F.interpolate(m.down(x), x.shape[-2:]),
    "difference": lambda m, x: x - m.f(x),
    "torch.sub": lambda m, x: torch.sub(x, m.f(x), alpha=0.5),
    "addcmul": lambda m, x: torch.addcmul(x, m.f(x), m.scale.expand(2, 4, 6, 6)),
    "addcmul, the factors turned": lambda m, x: torch.addcmul(
        x, m.scale.expand(2, 4, 6, 6), m.f(x)
    ),
    "lerp with a constant weight": lambda m, x: torch.lerp(x, m.f(x), 0.3),
    "a bias beside": lambda m, x: x + m.f(x) + m.scale,
}

NO_UNIT: dict[str, Forward] = {
    "no add": lambda m, x: m.f(x),
    "two branches": lambda m, x: m.f(x) + m.g(x),
    "projection": lambda m, x: m.down(x) + F.avg_pool2d(m.f(x), 2),
    "twice the same": lambda m, x: x + x,
    "a number": lambda m, x: m.f(x) + 1,
    "a parameter": lambda m, x: m.f(x) + m.scale,
    "broadcast": lambda m, x: x + m.f(x).mean((2, 3), keepdim=True),
    "difference the other way round": lambda m, x: m.f(x) - x,
    "product": lambda m, x: x * m.f(x),
    "scaled shortcut by alpha": lambda m, x: torch.add(m.f(x), x, alpha=0.5),
    "activation on the shortcut": lambda m, x: m.act(x) + m.f(x),
    "pooled shortcut": lambda m, x: F.avg_pool2d(x, 3, 1, 1) + m.f(x),
    "concatenation": lambda m, x: torch.cat([x, m.f(x)], 1),
}


@pytest.mark.parametrize("forward", ONE_UNIT.values(), ids=ONE_UNIT)
def test_one_unit(forward: Forward) -> None:
    assert units(forward) == 1


@pytest.mark.parametrize("forward", NO_UNIT.values(), ids=NO_UNIT)
def test_no_unit(forward: Forward) -> None:
    assert units(forward) == 0


def test_a_unit_knows_its_parts() -> None:
    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        x = m.f(x)
        return x + m.h(m.g(x))

    (unit,) = residual_of(forward).units.values()
    assert unit.shortcut.target == unit.fork.target == "f"
    assert unit.branch.target == "h"


def test_sizes_and_parameters_are_no_flow() -> None:
    residual = residual_of(lambda m, x: F.interpolate(m.f(x), x.shape[-2:]) * m.scale)
    flow = {str(node.target) for node in residual.flow if node != "input"}
    assert "f" in flow
    assert "scale" not in flow
    assert not any("getattr" in target for target in flow)


def test_parallel_branches_of_one_fork_are_two_units() -> None:
    assert units(lambda m, x: x + m.f(x) + m.g(x)) == 2


def test_a_unit_inside_a_branch_is_found_too() -> None:
    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        y = m.f(x)
        return x + (y + m.g(y))

    assert units(forward) == 2


def _two(m: Model, x: torch.Tensor) -> torch.Tensor:
    x = x + m.g(x)
    return x + m.h(x)


def _there_and_back(m: Model, x: torch.Tensor) -> torch.Tensor:
    y = x.transpose(1, 3)
    return (y + m.g(x).transpose(1, 3)).transpose(1, 3)


def _rolled_back(m: Model, x: torch.Tensor) -> torch.Tensor:
    y = x.roll(1, 2)
    return (y + m.g(y)).roll(-1, 2)


# Each is a block behind the stem ``f``.
EXACT: dict[str, Forward] = {
    "one unit": lambda m, x: x + m.g(x),
    "two units": _two,
    "there and back": _there_and_back,
    "rolled there and back": _rolled_back,
    "dropout after": lambda m, x: m.drop(x + m.g(x)),
}
INEXACT: dict[str, Forward] = {
    "smooth activation after": lambda m, x: m.act(x + m.g(x)),
    "relu after, none before": lambda m, x: m.relu(x + m.g(x)),
    "learned scale": lambda m, x: x * m.scale + m.g(x),
}
NO_PATH: dict[str, Forward] = {
    "no unit": lambda m, x: m.g(x),
    "a layer after": lambda m, x: m.h(x + m.g(x)),
    "rolled": lambda m, x: (y := x.roll(1, 2)) + m.g(y),
    "softmax after": lambda m, x: F.softmax(x + m.g(x), 1),
}


def path_behind_stem(block: Forward) -> Path | None:
    """The identity path from the end of ``block`` back to the stem, if there is one."""
    residual = residual_of(lambda m, x: block(m, m.f(x)))
    nodes = list(residual.traced.graph.nodes)
    stem = next(i for i, node in enumerate(nodes) if node.target == "f")
    return residual.path(nodes[-2], frozenset(nodes[stem + 1 : -1]))


@pytest.mark.parametrize("block", EXACT.values(), ids=EXACT)
def test_the_end_can_be_replaced_by_the_start(block: Forward) -> None:
    path = path_behind_stem(block)
    assert path is not None
    assert path.exact
    assert path.start.target == "f"
    assert path.gates == ((path.end, path.start),)


@pytest.mark.parametrize("block", INEXACT.values(), ids=INEXACT)
def test_only_the_sum_can_be_replaced(block: Forward) -> None:
    path = path_behind_stem(block)
    assert path is not None
    assert not path.exact
    assert path.gates == tuple((unit.add, unit.shortcut) for unit in path.units)


@pytest.mark.parametrize("block", NO_PATH.values(), ids=NO_PATH)
def test_no_identity(block: Forward) -> None:
    assert path_behind_stem(block) is None


def test_no_identity_when_height_and_width_are_swapped() -> None:
    assert path_behind_stem(lambda m, x: (y := x.permute(0, 1, 3, 2)) + m.g(y)) is None


def test_relu_after_is_exact_only_behind_the_same_relu() -> None:
    def behind(first: Callable[[torch.Tensor], torch.Tensor]) -> bool:
        residual = residual_of(lambda m, x: _block_behind(m, first(m.f(x)), m.relu))
        nodes = list(residual.traced.graph.nodes)
        path = residual.path(nodes[-2], frozenset(nodes[3:-1]))
        assert path is not None
        return path.exact

    assert behind(torch.relu)
    assert not behind(F.relu6)
    assert not behind(F.leaky_relu)


def _block_behind(
    m: Model, x: torch.Tensor, after: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    return after(x + m.g(x))


def test_projections_are_what_the_shortcut_with_weights_computes() -> None:
    model = toys.two_stages(toys.PostActivation, (1, 2))
    traced = trace(model, (torch.zeros(2, 3, 8, 8),), lambda _, m: is_torch_layer(m))
    residual = ResidualGraph(traced, dict(model.named_modules()))
    found = {str(node.target) for node in residual.projections(traced.graph.nodes)}
    assert found == {"layer2.0.downsample.0", "layer2.0.downsample.1"}


def test_dominators_are_those_of_the_definition() -> None:
    """Against the definition: without its dominator, a node cannot be reached."""
    import networkx as nx

    model, x = TOYS["squeeze-excite"].build(), TOYS["squeeze-excite"].input()
    traced = trace(model, (x,), lambda _, m: is_torch_layer(m))
    residual = ResidualGraph(traced, dict(model.named_modules()))
    assert len(residual.dominators) > 50
    for node, dominator in residual.dominators.items():
        cut = residual.flow.copy()
        cut.remove_node(dominator)
        assert not nx.has_path(cut, "input", node)
        between = nx.ancestors(residual.flow, node) & nx.descendants(residual.flow, dominator)
        for other in between:  # no other node nearer to it does the same
            cut = residual.flow.copy()
            cut.remove_node(other)
            assert nx.has_path(cut, "input", node)
