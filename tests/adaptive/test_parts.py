"""Blocks whose parts step aside one by one, wherever they are called; several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import subpath
from subpath.graph.equality import unequal
from subpath.graph.inputs import Inputs
from subpath.sweep.comparison import training_step
from toys import put, randomise


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Affine(nn.Module):
    """No norm: what comes in is no multiple of what goes out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


class Down(nn.Module):
    """Gives what the block works on, and what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        return self.inner(x), x, None


class Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.after = nn.Linear(width // 2, width), Affine(width)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.after(self.inner(x) + shortcut)


class Narrow(nn.Module):
    """Work goes on in calls beside the one that adds; an affine map stays behind the sum."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down, self.middle = Down(width), nn.Linear(width // 2, width // 2)
        self.up = Up(width)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # torch.fx cannot open it
            x = x + 0
        narrow, given, _ = self.down(x)
        return self.up(narrow + torch.tanh(self.middle(narrow)), given)


class Act(nn.Module):
    """A layer, and at its end what does nothing."""

    def __init__(self, width: int, act: nn.Module) -> None:
        super().__init__()
        self.inner, self.norm, self.act = nn.Linear(width, width), nn.LayerNorm(width), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.inner(x)))


class KeepsFirst(nn.Module):
    """The shortcut begins behind the first layer, which stays."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.one, self.two = Act(width, nn.Tanh()), Act(width, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # torch.fx cannot open it
            x = x + 0
        x = self.first(x)
        return x + self.two(self.one(x))


class Conditioned(nn.Module):
    """A block that looks up what it is told beside the stream."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.table, self.scale = nn.Embedding(5, width), nn.Linear(width, width)
        self.norm, self.inner = nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, 8)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale = self.scale(self.table(label))[:, None]
        return x + scale * torch.tanh(self.inner(self.norm(x) * (1 + scale)))


class Told(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.blocks = nn.ModuleList(Conditioned() for _ in range(depth))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, label)
        return self.head(x)


class Mapped(nn.Module):
    """Gives a map of its attention beside its output."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(x)
        attention = torch.softmax(y @ y.mT, -1)
        return x + attention @ self.inner(y), attention


class Maps(nn.Module):
    """Gives the maps of all its blocks to its caller."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.blocks = nn.ModuleList(Mapped() for _ in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, maps = self.stem(x), []
        for block in self.blocks:
            x, attention = block(x)
            maps.append(attention)
        return x, maps


class Message(nn.Module):
    """Passes messages along edges, each with a weight made of the places."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.inner, self.filter = nn.Linear(width, width), nn.Linear(3, width)

    def forward(self, x: Tensor, edges: Tensor, between: Tensor) -> Tensor:
        sent = self.inner(x)[edges[0]] * torch.tanh(self.filter(between))
        return torch.zeros_like(x).index_add(0, edges[1], sent)


class Molecule(nn.Module):
    """The outer forward adds; atoms and places are two inputs."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 8), nn.Linear(8, 3)
        self.messages = nn.ModuleList(Message() for _ in range(depth))

    def forward(self, atoms: Tensor, places: Tensor) -> Tensor:
        x = self.table(atoms)
        count = len(atoms)
        edges = torch.stack([torch.arange(count), (torch.arange(count) + 1) % count])
        between = places[edges[0]] - places[edges[1]]
        for message in self.messages:
            x = x + message(x, edges, between)
        return self.head(x)


class Nothing(nn.Module):
    """What gives its first input back, or zeros."""

    def __init__(self, zeros: bool = False) -> None:
        super().__init__()
        self.zeros = zeros

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        return torch.zeros_like(x) if self.zeros else x


def check(
    model: nn.Module,
    inputs: Inputs,
    skippable: list[tuple[str, ...]],
    left: Callable[[nn.Module], nn.Module],
) -> None:
    model = randomise(model).eval()
    adaptive = subpath.convert(model, inputs.args)
    assert [stage.skippable for stage in adaptive.stages] == skippable
    for config in adaptive.skip_configs():
        letters = zip(config, skippable, strict=True)
        gone = [path for letter, paths in letters if letter == "T" for path in paths]
        by_hand = put(model, {path: left(model.get_submodule(path)) for path in gone})
        assert unequal(by_hand(*inputs.args), adaptive(*inputs.args, skip=config)) == "", config
    expected, got = training_step(model, inputs), training_step(adaptive, inputs)
    assert unequal(expected, {name: got[name] for name in expected}) == ""


def test_parts_in_calls_beside_the_adder() -> None:
    blocks = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), *(Narrow() for _ in range(4)))
    expected = [("3",), ("5",)]
    check(blocks, Inputs((noise(2, 5, 8),)), expected, lambda block: block.up.after)


def test_a_part_that_ends_with_nothing() -> None:
    blocks = nn.Sequential(nn.Linear(8, 8), *(KeepsFirst() for _ in range(4)))
    check(blocks, Inputs((noise(2, 5, 8),)), [("2",), ("4",)], lambda block: block.first)


def test_what_a_block_looks_up_is_a_stream_beside() -> None:
    inputs = Inputs((noise(2, 5, 8), torch.tensor([1, 3])))
    check(Told(), inputs, [("blocks.1",), ("blocks.3",)], lambda _: Nothing())


@pytest.mark.parametrize("run", ["graph", "in place"])
def test_a_block_that_gives_its_caller_more(run: Literal["graph", "in place"]) -> None:
    model = randomise(Maps()).eval()
    adaptive = subpath.convert(model, noise(2, 5, 8), run=run)
    assert [stage.skippable for stage in adaptive.stages] == [("blocks.1",), ("blocks.3",)]
    assert unequal(model(noise(2, 5, 8)), adaptive(noise(2, 5, 8))) == ""
    x, maps = adaptive(noise(2, 5, 8), skip="TT")
    by_hand = Maps()
    by_hand.stem, by_hand.blocks = model.stem, nn.ModuleList([model.blocks[0], model.blocks[2]])
    expected, (first, second) = by_hand(noise(2, 5, 8))
    assert unequal(expected, x) == ""
    assert unequal([first, second], maps[::2]) == ""
    assert run == "graph" or maps[1::2] == [None, None]


def test_an_outer_forward_that_adds_what_several_inputs_give() -> None:
    inputs = Inputs((torch.tensor([1, 3, 0, 2]), noise(4, 3)))
    expected = [("messages.1",), ("messages.3",)]
    check(Molecule(), inputs, expected, lambda _: Nothing(zeros=True))
