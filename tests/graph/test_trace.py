"""Tracing: the graph computes what the model does, and knows which call made which node."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

import toys
from subpath.errors import TraceError
from subpath.graph.trace import is_torch_layer, trace
from subpath.graph.traced_graph import TracedGraph
from toys import TOYS, Toy


def open_all(model: nn.Module, *inputs: torch.Tensor, training: bool = False) -> TracedGraph:
    return trace(model, inputs, lambda _, module: is_torch_layer(module), training=training)


def run(model: nn.Module, traced: TracedGraph, *inputs: torch.Tensor) -> object:
    """Run a traced graph on the weights of its model."""
    root = copy.deepcopy(model)
    for name, value in traced.constants.items():
        root.register_buffer(name, value)
    return fx.GraphModule(root, traced.graph)(*inputs)


@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_the_graph_computes_what_the_model_does(toy: Toy) -> None:
    model, x = toy.build(), toy.input()
    traced = open_all(model, x)
    assert torch.equal(run(model, traced, x.clone()), model(x.clone()))


def test_calls_are_nested_and_a_leaf_ends_with_itself() -> None:
    model = toys.two_stages(toys.PostActivation, (1, 1))
    traced = open_all(model, torch.zeros(2, 3, 8, 8))
    paths = {str(n): tuple(c.path for c in stack) for n, stack in traced.calls.items()}
    assert paths["layer1_0_conv1"] == ("layer1", "layer1.0", "layer1.0.conv1")
    assert paths["iadd"] == ("layer1", "layer1.0")
    assert paths["x"] == ()
    assert "layer2.0.downsample" in traced.opened
    assert "layer1.0.conv1" not in traced.opened


def test_repeated_calls_of_one_module_are_told_apart() -> None:
    model = toys.Again(3)
    traced = open_all(model, torch.zeros(2, 8, 4, 4))
    calls = {stack[0] for node, stack in traced.calls.items() if stack}
    assert {call.path for call in calls} == {"block"}
    assert len({call.number for call in calls}) == 3


def test_a_leaf_is_called_whole() -> None:
    model = toys.two_stages(toys.PostActivation, (2, 2))
    traced = trace(model, (torch.zeros(2, 3, 8, 8),), lambda path, _: path == "layer1")
    called = [str(n.target) for n in traced.graph.nodes if n.op == "call_module"]
    assert "layer1" in called
    assert not any(target.startswith("layer1.") for target in called)


def test_what_cannot_be_opened_is_a_leaf_with_a_reason() -> None:
    model = TOYS["choosy branch"].build()
    traced = open_all(model, torch.zeros(2, 3, 8, 8))
    assert set(traced.opaque) == {
        f"{path}.choosy" for path in ("stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage2.2")
    }
    assert "control flow" in traced.opaque["stage1.0.choosy"]
    assert "stage1.0" in traced.opened
    called = [str(n.target) for n in traced.graph.nodes if n.op == "call_module"]
    assert called.count("stage1.0.choosy") == 1
    assert not any(target.startswith("stage1.0.choosy.") for target in called)
    assert set(traced.calls) == set(traced.graph.nodes)


def test_only_the_branch_taken_in_the_traced_mode_is_there() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if self.training else x

    model = Model().eval()
    x = torch.ones(2, 3)
    assert len(open_all(model, x).graph.nodes) == 2
    assert len(open_all(model, x, training=True).graph.nodes) == 3
    assert not model.training


def test_constants_made_while_tracing_keep_their_values() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor([1.0, 2.0, 3.0])

    model, x = Model(), torch.zeros(2, 3)
    traced = open_all(model, x)
    assert [value.tolist() for value in traced.constants.values()] == [[1.0, 2.0, 3.0]]
    assert torch.equal(run(model, traced, x), model(x))


def test_buffers_are_read_when_the_graph_runs() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (self.scale * 2)

    model, x = Model(), torch.ones(2, 3)
    traced = open_all(model, x)
    model.scale.fill_(5.0)
    assert torch.equal(run(model, traced, x), model(x))


def test_a_cache_kept_by_a_forward_stays_out_of_the_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.cache: dict[str, torch.Tensor] = {}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.cache["last"] = self.fc(x)
            return self.cache["last"]

    model = Model()
    open_all(model, torch.zeros(2, 3))
    assert model.cache == {}


def test_more_inputs_and_defaults() -> None:
    class Model(nn.Module):
        def forward(
            self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor | None = None
        ) -> torch.Tensor:
            return x - y if z is None else z

    model, x, y = Model(), torch.ones(2, 3), torch.full((2, 3), 4.0)
    traced = open_all(model, x, y)
    assert torch.equal(run(model, traced, x, y), x - y)


def test_any_number_of_inputs() -> None:
    class Model(nn.Module):
        def forward(self, *xs: torch.Tensor) -> torch.Tensor:
            return xs[0] - xs[1]

    model, x, y = Model(), torch.ones(2, 3), torch.full((2, 3), 4.0)
    assert torch.equal(run(model, open_all(model, x, y), x, y), x - y)


def test_decisions_by_size_are_taken_for_the_example() -> None:
    model, x = TOYS["padded"].build(), TOYS["padded"].input()
    traced = open_all(model, x)
    assert traced.by_size
    assert not traced.opaque
    assert torch.equal(run(model, traced, x), model(x))


def test_what_is_given_a_list_is_looked_into() -> None:
    class Append(nn.Module):
        def forward(self, x: torch.Tensor, seen: list[torch.Tensor]) -> torch.Tensor:
            seen.append(x * 2)
            return x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf = Append()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = [x]
            return self.leaf(x, seen) + seen[-1]

    model, x = Model(), torch.ones(2, 3)
    traced = trace(model, (x,), lambda path, _: path == "leaf")
    assert torch.equal(run(model, traced, x), model(x))


def test_an_ordered_dict_stays_one() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
            return OrderedDict(out=x * 2, aux=x)

    model, x = Model(), torch.ones(2, 3)
    got = run(model, open_all(model, x), x)
    assert type(got) is OrderedDict
    assert list(got) == ["out", "aux"]
    assert torch.equal(got["out"], x * 2)


class Asks(nn.Module):
    """Asks an input one question and decides by the answer."""

    def __init__(self, question: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.question = question

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if self.question(x) else x - 1


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.shape[0] == 2,
        lambda x: x.ndim > 1 and x.size(-1) * 2 >= 6,
        lambda x: len(x) == 2,
        lambda x: range(x.shape[1])[-1],
        lambda x: [0, 1, 2][x.dim()],
        lambda x: x.flatten().shape[0] / 2 > float(x.shape[1]) - 1,
        lambda x: len(list(x)) == 2,
    ],
)
def test_questions_about_sizes_are_answered(question: Callable[[torch.Tensor], object]) -> None:
    model, x = Asks(question), torch.zeros(2, 3)
    traced = open_all(model, x)
    assert traced.by_size
    assert torch.equal(run(model, traced, x), model(x))


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.sum() > 0,
        lambda x: x.dtype == torch.float32,
        lambda x: x.device.type == "cpu",
        lambda x: x.is_floating_point(),
        lambda x: x.requires_grad,
        lambda x: int(x.sum()),
    ],
)
def test_questions_about_anything_else_are_not(question: Callable[[torch.Tensor], object]) -> None:
    """The answer would be baked in, and the graph is used on other devices and types too."""
    traced = open_all(nn.Sequential(nn.Identity(), Asks(question)), torch.zeros(2, 3))
    assert set(traced.opaque) == {"1"}
    assert "control flow" in traced.opaque["1"]
    assert not traced.by_size


def test_decisions_in_what_could_not_be_opened_do_not_count() -> None:
    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.shape[0] > 1 and x.sum() > 0 else x

    traced = open_all(nn.Sequential(Both()), torch.zeros(2, 3))
    assert set(traced.opaque) == {"0"}
    assert not traced.by_size


def test_none_in_the_result_of_a_leaf_is_none() -> None:
    class Leaf(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return x * 2, None

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf = Leaf()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, mask = self.leaf(x)
            return y if mask is None else y * mask

    model, x = Model(), torch.ones(2, 3)
    traced = trace(model, (x,), lambda path, _: path == "leaf")
    assert torch.equal(run(model, traced, x), model(x))


class Decides(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("make", "inputs", "words"),
    [
        (Decides, (torch.zeros(2, 3),), ("Decides", "control flow", "submodule")),
        (
            lambda: nn.Sequential(nn.Linear(3, 3)),
            (torch.zeros(2, 4),),
            ("does not run on the example input", "[2, 4]", "example_input"),
        ),
        (lambda: nn.Sequential(nn.Identity()), (torch.zeros(2),) * 2, ("takes 1", "got 2")),
    ],
    ids=["control flow in the root", "wrong shape", "wrong number of inputs"],
)
def test_refusals_say_what_to_do(
    make: Callable[[], nn.Module], inputs: tuple[torch.Tensor, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(TraceError) as caught:
        open_all(make(), *inputs)
    for word in words:
        assert word in str(caught.value)


def test_control_flow_on_values_in_a_leaf() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Decides())
    traced = open_all(model, torch.zeros(2, 3))
    assert set(traced.opaque) == {"1"}


def test_another_name_for_what_is_added_to_in_place() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            z = y
            y += x
            return z

    model, x = Model(), torch.ones(2, 3)
    assert torch.equal(run(model, open_all(model, x), x), model(x))
