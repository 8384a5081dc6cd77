"""What a forward keeps for its next call, and parts in TorchScript: nothing of it is lost."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import subpath
from obstacles import WIDTH, Block, tokens
from subpath.errors import ConversionError, ModelError, SubpathError
from subpath.graph.equality import unequal
from subpath.graph.inputs import Inputs
from subpath.sweep.comparison import training_step
from toys import randomise


class Averages(Block):
    """Puts a new tensor in the place of a buffer, in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
        return x + self.branch(x - self.mean)


class Remembers(Block):
    """Adds what the last call was given."""

    last: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.last = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, x.detach()
        return x + self.branch(x if before is None else x + before)


class Counts(Block):
    """Counts its calls in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.branch(x) / self.calls


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inner(x))


def script(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted: nn.Module = torch.jit.script(module)
        return scripted


def network(*blocks: nn.Module, head: nn.Module | None = None) -> nn.Module:
    stem, last = nn.Linear(WIDTH, WIDTH), head or nn.Linear(WIDTH, 3)
    return randomise(nn.Sequential(stem, *blocks, last)).eval()


def same_step(model: nn.Module, adaptive: nn.Module) -> bool:
    inputs = Inputs((tokens(),))
    expected, got = training_step(model, inputs), training_step(adaptive, inputs)
    return unequal(expected, {name: got.get(name) for name in expected}) == ""


class LeavesOut(nn.Module):
    """Leaves out blocks by chance in training; the draw is no part of the input's flow."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(8))
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if not self.training or self.draw() > 0.4:
                x = block(x)
        return x


DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: torch.rand(1)[0],
    "python": lambda: random.random(),
    "numpy": lambda: np.random.rand(),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_blocks_left_out_by_chance_are_drawn_anew(draw: Callable[[], float]) -> None:
    model = network(LeavesOut(draw))
    states = torch.get_rng_state(), random.getstate()
    adaptive = subpath.convert(model, tokens())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    for seed in range(4):
        outputs = []
        for one in (model, adaptive):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            outputs.append(one.train()(tokens()))
        assert unequal(*outputs) == "", seed


@pytest.mark.parametrize("block", [Averages, Counts])
def test_buffers_are_written_as_before(block: type[nn.Module]) -> None:
    model = network(*(block() for _ in range(4)))
    assert same_step(model, subpath.convert(model, tokens(), check=False))


def test_what_the_next_call_needs_is_kept() -> None:
    model = network(*(Remembers() for _ in range(4)))
    adaptive = subpath.convert(model, tokens(), check=False)
    for seed in range(3):
        assert unequal(model(tokens(seed)), adaptive(tokens(seed))) == ""
    assert adaptive.plan.run == "in place"


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_scripted_parts_learn() -> None:
    model = network(*(Block() for _ in range(4)), head=script(nn.Linear(WIDTH, 3)))
    assert same_step(model, subpath.convert(model, tokens()))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_scripted_blocks_are_skipped() -> None:
    model = network(*(script(Scripted()) for _ in range(4)))
    adaptive = subpath.convert(model, tokens())
    assert [stage.skippable for stage in adaptive.stages] == [("2",), ("4",)]
    by_hand = nn.Sequential(*(model[i] for i in (0, 1, 3, 5)))
    for one in (adaptive, copy.deepcopy(adaptive)):
        assert unequal(by_hand(tokens()), one(tokens(), skip="TT")) == ""
    assert same_step(model, adaptive)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_network_all_in_script_is_refused_in_our_words() -> None:
    model = network(*(Scripted() for _ in range(4)))
    for whole in (script(model), torch.jit.trace(model, tokens())):
        with pytest.raises(SubpathError):
            subpath.convert(whole, tokens())


def test_a_compiled_network_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"torch.compile has wrapped"):
        subpath.convert(torch.compile(network(Block(), Block())), tokens())


def test_a_lazy_network_that_never_ran_is_refused() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Block(), Block(), nn.LazyLinear(3))
    with pytest.raises(ModelError, match=r"3\.weight has no shape yet"):
        subpath.plan(model, tokens())
