"""Small networks with everything that stops a symbolic tracer, and networks that run in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

WIDTH = 8


class Block(nn.Module):
    """A pre-norm residual block over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)

    def branch(self, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(self.norm(x)))

    def forward(self, x: Tensor) -> Any:
        return x + self.branch(x)


class DecidesByValues(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if x.abs().sum() > 0 else x


class DecidesByType(Block):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16:
            x = x.float()
        return x + self.branch(x)


class GivesTuple(Block):
    def forward(self, x: Tensor, wanted: bool = False) -> tuple[Tensor, Tensor | None]:
        branch = self.branch(x)
        return x + branch, branch if wanted else None


class GivesDict(Block):
    def forward(self, x: Tensor, notes: list[str]) -> dict[str, Any]:
        return {"hidden": x + self.branch(x), "notes": notes}


class NamedOnly(Block):
    def forward(self, *, hidden: Tensor, scale: float = 1.0) -> Tensor:
        return hidden + scale * self.branch(hidden)


class KeepsCache(Block):
    def forward(self, x: Tensor, cache: dict[str, Tensor]) -> Tensor:
        branch = self.branch(x)
        cache[str(len(cache))] = branch
        return x + branch


class PostNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + torch.tanh(self.inner(x)))


class Vmapped(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.vmap(self.branch)(x)


class WritesInPlace(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :2] = x[:, :2] * 1.0
        branch = self.branch(x.clone())
        x += branch
        return x


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


class Shaken(torch.autograd.Function):
    """As in shake-shake: other shares forward than backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return 0.25 * x + 0.75 * y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return 0.6 * grad, 0.4 * grad


class OwnBackward(Block):
    def __init__(self, function: Any = StraightThrough) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return x + self.function.apply(self.branch(x))


class ShakeShake(Block):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + Shaken.apply(self.branch(x), self.other(x))


class OwnBackwardInTraining(Block):
    """Kept under a name of its own, and used in train mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.through = StraightThrough.apply

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        return x + (self.through(branch) if self.training else branch)


class Mixer(nn.Module):
    """Mixes positions; gives a tuple, as attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        shares = torch.softmax(x @ x.mT if x.abs().sum() > 0 else x @ x.mT * 0, dim=-1)
        return shares @ self.values(x), None


class Parts(nn.Module):
    """The parts of a block, whose own forward is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mixer = Mixer()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))
        self.gamma = nn.Parameter(torch.rand(WIDTH))
        self.dropout = nn.Dropout(0.1)


def pre_norm(parts: Any, x: Tensor) -> Tensor:
    mixed, _ = parts.mixer(parts.norm1(x))
    x = mixed + x
    return x + parts.mlp(parts.norm2(x))


def scaled(parts: Any, x: Tensor) -> Tensor:
    mixed, _ = parts.mixer(parts.norm1(x))
    x = x + parts.gamma * parts.dropout(mixed)
    branch = parts.dropout(parts.mlp(parts.norm2(x))) * 0.5
    x = x.clone()
    x += branch
    return x


def side_by_side(parts: Any, x: Tensor) -> Tensor:
    normed = parts.norm1(x)
    return x + (parts.mixer(normed)[0] + parts.mlp(normed).transpose(0, 1).transpose(0, 1))


def post_norm(parts: Any, x: Tensor) -> Tensor:
    x = parts.norm1(x + parts.mixer(x)[0])
    return parts.norm2(x + parts.mlp(x))


class Net(nn.Module):
    """Norm, blocks in a row, a head; ``run`` tells how a block is called."""

    def __init__(self, make: Callable[[], nn.Module], run: Callable[..., Any], depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.before = nn.LayerNorm(WIDTH)
        self.stages = nn.ModuleList(make() for _ in range(depth))  # a name that this library uses
        self.head = nn.Linear(WIDTH, 3)
        self.run = run

    def forward(self, x: Tensor, **more: Any) -> Any:
        x = self.before(self.stem(x))
        for block in self.stages:
            x = self.run(block, x, **more)
        return self.head(x).mean(1)


def _plain(block: nn.Module, x: Tensor) -> Tensor:
    return block(x)


def _notes(block: nn.Module, x: Tensor) -> Tensor:
    found = block(x, ["a note"])
    assert found["notes"] == ["a note"]
    return found["hidden"]


def _cached(block: nn.Module, x: Tensor, cache: dict[str, Tensor] | None = None) -> Tensor:
    return block(x, {} if cache is None else cache)


@dataclass(frozen=True)
class Obstacle:
    """A network, and how it is called."""

    name: str
    block: Callable[[], nn.Module]
    run: Callable[..., Any] = _plain
    depth: int = 4

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        model = Net(self.block, self.run, self.depth).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        return model

    def __str__(self) -> str:
        return self.name


def _parametrised() -> nn.Module:
    block = Block()
    parametrizations.weight_norm(block.inner)
    return block


OBSTACLES = [
    Obstacle("decides by values", DecidesByValues),
    Obstacle("decides by type", DecidesByType),
    Obstacle("gives a tuple", GivesTuple, lambda block, x: block(x)[0]),
    Obstacle("gives a dict, hands a list on", GivesDict, _notes),
    Obstacle("takes inputs by name alone", NamedOnly, lambda block, x: block(hidden=x)),
    Obstacle("keeps a cache", KeepsCache, _cached),
    Obstacle("norm after the add", PostNorm),
    Obstacle("vmap", Vmapped),
    Obstacle("writes in place", WritesInPlace),
    Obstacle("straight-through estimator", OwnBackward),
    Obstacle("gradient reversal", lambda: OwnBackward(Reversed)),
    Obstacle("shake-shake", ShakeShake),
    Obstacle("own backward in train mode alone", OwnBackwardInTraining),
    Obstacle("parametrised layers", _parametrised),
    Obstacle("plain", Block),
    Obstacle("parts called from outside", Parts, pre_norm),
    Obstacle("parts with a scale, dropout and an in-place add", Parts, scaled),
    Obstacle("parts side by side", Parts, side_by_side),
    Obstacle("parts with a norm after the add", Parts, post_norm),
]


def tokens(seed: int = 1) -> Tensor:
    return torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


def without(model: nn.Module, blocks: list[int]) -> nn.Module:
    """A copy of a :class:`Net` with these blocks taken out of the list by hand."""
    import copy

    copied: Any = copy.deepcopy(model)
    kept = [block for number, block in enumerate(copied.stages) if number not in blocks]
    copied.stages = nn.ModuleList(kept)
    return copied
