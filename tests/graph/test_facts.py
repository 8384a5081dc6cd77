"""Facts: shapes, storages, writes and multiply-adds, against torch itself and against formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

import toys
from subpath.graph.copies import shape_copy
from subpath.graph.facts import Fact, propagate
from subpath.graph.tensors import tensors_in


def facts_of(model: nn.Module, *inputs: torch.Tensor) -> dict[str, Fact]:
    """The fact of each node, by the node's name."""
    graph = fx.Tracer().trace(model)
    return {str(node): fact for node, fact in propagate(model, graph, inputs, {}).items()}


def fact(function: Callable[..., object], *inputs: torch.Tensor) -> Fact:
    """The fact of the last step of a function."""

    class Module(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return function(x)

    *_, last, _output = facts_of(Module(), *inputs).values()
    return last


def test_shapes_are_those_of_a_real_run() -> None:
    model, x = toys.TOYS["squeeze-excite"].build(), torch.randn(2, 3, 8, 8)
    graph = fx.Tracer().trace(model)
    facts = propagate(model, graph, (x,), {})

    class Compare(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            assert facts[n].shapes == tuple(tuple(t.shape) for t in tensors_in(result)), n
            return result

    Compare(model, graph=graph).run(x)


def test_views_share_a_storage_and_results_do_not() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            view = x.view(4, 6)
            sliced = view[1:3]
            return sliced + sliced

    facts = facts_of(Model(), torch.zeros(2, 3, 4))
    assert facts["x"].storages == facts["view"].storages == facts["getitem"].storages
    assert facts["add"].storages != facts["x"].storages


@pytest.mark.parametrize(
    ("function", "writes"),
    [
        (lambda x: x.add_(1), True),
        (lambda x: F.relu(x, inplace=True), True),
        (lambda x: F.relu(x), False),
        (lambda x: x.view(-1).mul_(2), True),
        (lambda x: torch.add(x, 1), False),
        (lambda x: x.contiguous(), False),
    ],
)
def test_a_write_is_noticed(function: Callable[..., torch.Tensor], writes: bool) -> None:
    assert bool(fact(function, torch.zeros(2, 6)).writes) is writes


def test_a_write_through_a_view_names_the_storage_of_the_original() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x + 1
            y.view(-1).mul_(2)
            return y

    facts = facts_of(Model(), torch.zeros(2, 3))
    assert facts["mul_"].writes == frozenset(facts["add"].storages)


def test_sizes_are_values_and_not_flow() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.size(0), -1)

    facts = facts_of(Model(), torch.zeros(2, 3, 4))
    assert facts["size"].value == 2
    assert not facts["size"].is_flow
    assert facts["reshape"].is_flow
    assert facts["reshape"].shape == (2, 12)


def test_a_value_of_two_tensors_has_two_shapes_and_no_single_one() -> None:
    found = fact(lambda x: x.split([1, 3], dim=1), torch.zeros(2, 4))
    assert found.shapes == ((2, 1), (2, 3))
    assert found.shape is None


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 7), 2 * 8 * 5 * 7 * 6 * 9),
        (nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 8, 8), 2 * 8 * 4 * 4 * 6 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), (2, 8, 5, 7), 2 * 8 * 5 * 7 * 2 * 9),
        (nn.Linear(6, 10), (2, 5, 6), 2 * 5 * 6 * 10),
        (nn.ReLU(), (2, 5, 6), 0),
    ],
)
def test_macs_of_a_layer(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    found = facts_of(nn.Sequential(layer), torch.zeros(shape))
    assert sum(f.macs for f in found.values()) == macs


def test_macs_of_matrix_products_and_attention() -> None:
    x = torch.zeros(2, 3, 5, 4)  # 2 pictures, 3 heads, 5 tokens, 4 channels
    assert fact(lambda x: x @ x.transpose(-1, -2), x).macs == 2 * 3 * 5 * 5 * 4
    attention = fact(lambda x: F.scaled_dot_product_attention(x, x, x), x)
    assert attention.macs == 2 * (2 * 3 * 5 * 5 * 4)


def test_a_shape_copy_has_no_data_and_leaves_the_model_alone() -> None:
    model = toys.two_stages(toys.PostActivation, (2, 2))
    model.fc.weight.requires_grad_(False)
    model.stem[0].weight = model.layer1[0].conv1.weight = nn.Parameter(torch.ones(8, 8, 3, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = shape_copy(model)
    assert all(value.is_meta for value in copied.state_dict().values())
    assert not copied.fc.weight.requires_grad
    assert copied.norm.weight.requires_grad
    assert copied.stem[0].weight is copied.layer1[0].conv1.weight
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_shape_copy_takes_plain_tensor_attributes_along() -> None:
    model = nn.Linear(2, 2)
    model.table = torch.ones(3)
    model.tables = [torch.ones(3), {"a": torch.ones(2)}]
    copied = shape_copy(model)
    assert copied.table.is_meta
    assert all(tensor.is_meta for tensor in tensors_in(copied.tables))
    assert not model.table.is_meta


def test_tensors_in_keeps_the_order() -> None:
    one, two, three = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    found = list(tensors_in([one, {"a": (two, 4)}, "text", three]))
    assert [t.numel() for t in found] == [1, 2, 3]


def test_a_function_may_change_the_lists_it_is_given() -> None:
    def shrink(x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        sizes[0] = 1
        return x[: sizes[0]]

    graph = fx.Graph()
    graph.output(graph.call_function(shrink, (graph.placeholder("x"), [2, 3])))
    facts = propagate(nn.Module(), graph, (torch.zeros(4, 3),), {})
    assert [fact.shapes for fact in facts.values()][1] == ((1, 3),)
