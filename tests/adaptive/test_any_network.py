"""Whatever stands in the way, alone or with others: converted rightly, or refused in our words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import subpath
from obstacles import OBSTACLES, WIDTH, Obstacle, tokens
from subpath.errors import SubpathError
from subpath.graph.equality import unequal

Give = Callable[[Tensor], Any]
POST_NORM = "norm after the add"
NORMED = (POST_NORM, "parts with a norm after the add")


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor | None = None


class Refuses(nn.Module):
    """Fails in a way of its own when it is not handed a real tensor, or ever."""

    def __init__(self, error: type[Exception], always: bool) -> None:
        super().__init__()
        self.error, self.always = error, always
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Tensor:
        if self.always or type(x) is not Tensor:
            raise self.error("add_5")
        return self.inner(x)


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("only leaves can be copied")


class WithTable(nn.Linear):
    """Keeps a plain tensor as an attribute."""

    def __init__(self) -> None:
        super().__init__(WIDTH, WIDTH)
        self.table = torch.linspace(0.5, 1.5, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.table


class Mixed(nn.Module):
    def __init__(
        self, stem: nn.Module, obstacles: list[Obstacle], give: Callable[..., Any]
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(o.block() for o in obstacles)
        self.runs = [o.run for o in obstacles]
        self.give = give
        self.kept = list(range(len(obstacles)))

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        for number, block in enumerate(self.blocks):
            if number in self.kept:
                x = self.runs[number](block, x)
        return self.give(x)


ERRORS = (TypeError, KeyError, ValueError, NameError, AttributeError, RuntimeError, AssertionError)
STEMS = st.one_of(
    st.builds(lambda: nn.Linear(WIDTH, WIDTH)),
    st.builds(WithTable),
    st.builds(lambda: Uncopied(WIDTH, WIDTH)),
    st.builds(Refuses, st.sampled_from(ERRORS), st.booleans()),
)
GIVES: list[Give] = [
    lambda x: x,
    lambda x: (x, None),
    lambda x: {"logits": x, "count": 3},
    lambda x: Output(x),
    lambda x: [x, [x.mean(1)]],
    lambda x: x.mean() if x.sum() > 0 else x.sum(),
]


@settings(max_examples=60, deadline=None)
@given(
    STEMS,
    st.lists(st.sampled_from(OBSTACLES), min_size=0, max_size=5),
    st.sampled_from(GIVES),
    st.sampled_from([None, "graph", "in place"]),
)
def test_converted_or_refused(
    stem: nn.Module, obstacles: list[Obstacle], give: Give, run: Any
) -> None:
    torch.manual_seed(0)
    model = Mixed(stem, obstacles, give).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        adaptive: Any = subpath.convert(model, tokens(), run=run)
    except SubpathError as error:
        adaptive, said = None, str(error)
    assert unequal(before, dict(model.state_dict())) == ""
    assert not any("forward" in vars(module) for module in model.modules())
    if adaptive is None:
        assert said.startswith("got ")
        assert len(obstacles) < 2 or run == "graph" or _is_refused_rightly(stem, obstacles)
        return
    for config in adaptive.skip_configs():
        by_hand = copy.deepcopy(model)
        skipped = _skipped(adaptive, config)
        for number in skipped:
            if obstacles[number].name == POST_NORM and obstacles[number - 1].name not in NORMED:
                by_hand.runs[number] = _norm  # stays, as what it is given is not normed
        by_hand.kept = [n for n in by_hand.kept if n not in skipped or by_hand.runs[n] is _norm]
        assert unequal(by_hand(tokens()), adaptive(tokens(), skip=config)) == "", config


def _norm(block: Any, x: Tensor) -> Tensor:
    normed: Tensor = block.norm(x)
    return normed


def _is_refused_rightly(stem: nn.Module, obstacles: list[Obstacle]) -> bool:
    if isinstance(stem, Uncopied) or (isinstance(stem, Refuses) and stem.always):
        return True
    # A row is of one kind; unlike neighbours may be the parts of one block.
    return len({o.name for o in obstacles}) > 1


def _skipped(adaptive: Any, config: str) -> list[int]:
    letters = zip(adaptive.stages, config, strict=True)
    return [int(b.split(".")[1]) for s, letter in letters if letter == "T" for b in s.skippable]
