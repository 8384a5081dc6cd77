"""Random residual networks whose rows mix blocks of all sorts, as searched networks do.

A network is drawn as plain data from a seed. The data tell which blocks are skippable, and build
the network with or without some of its blocks, so nothing here asks the library.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from toys import SqueezeExcite, conv, randomise

NORMS = ("batch", "group", "layer", "none")
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "hardswish": nn.Hardswish}
SUMS = ("x + y", "y + x", "y += x", "x += y", "y.add_(x)")
STYLES = ("pre", "post", "dense", "wrapped", "wrapped dense")
CONTAINERS = ("sequential", "list", "attributes", "nested", "sums")


@dataclass(frozen=True)
class Spec:
    """One block.

    Attributes:
        norm, activation, kernel, depthwise, squeeze, scale, drop_path: of its branch.
        style: its class, and for a wrapper the class of the branch.
        total: how branch and shortcut are summed; empty where the stage does that.
        shares: which of its modules it has from a pool of the stage.
        two: whether it takes a vector beside the picture, and gives one: updated, or as it was.
        projects: whether it halves the resolution, with a convolution on its shortcut.
    """

    norm: str
    activation: str
    kernel: int
    depthwise: bool
    squeeze: bool
    scale: str
    drop_path: float
    style: str
    total: str
    shares: tuple[str, ...]
    two: str = ""
    projects: bool = False


@dataclass(frozen=True)
class Stage:
    """Blocks of one shape; the first may make that shape, else a layer before it does."""

    width: int
    container: str
    blocks: tuple[Spec, ...]


@dataclass(frozen=True)
class Mixed:
    """A network as data."""

    stages: tuple[Stage, ...]
    flat: bool

    def rows(self) -> list[list[str]]:
        """The paths of the blocks of each stage."""
        if not self.flat:
            return [
                [f"stage{i}.{_child(stage.container, j)}" for j in range(len(stage.blocks))]
                for i, stage in enumerate(self.stages)
            ]
        numbers = iter(range(100))
        found = []
        for i, stage in enumerate(self.stages):
            if i and not stage.blocks[0].projects:
                next(numbers)  # the layer that halves the resolution
            found.append([f"features.{next(numbers)}" for _ in stage.blocks])
        return found

    def expected(self) -> list[tuple[str, ...]]:
        """The skippable blocks of each stage that has some: the last but ``ceil(n / 2)``."""
        rows = self.rows()
        if len(rows) == 1:  # isotropic: cut into groups of two or more
            rows = _groups(rows[0])
        skippable = [tuple(row[-(-len(row) // 2) :]) for row in rows]
        return [names for names in skippable if names]

    def build(self, without: Collection[str] = ()) -> nn.Module:
        """The network in eval mode, no weight at its default, without some of its blocks."""
        torch.manual_seed(0)
        network = randomise(_Network(self, ())).eval()
        if not without:
            return network
        cut = _Network(self, without)
        weights = network.state_dict()
        cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
        return cut.eval()


def draw(seed: int) -> Mixed:
    """The network of that seed: 1 to 3 stages of 1 to 5 blocks."""
    rng = random.Random(seed)
    flat = rng.random() < 0.2
    return Mixed(tuple(_draw_stage(rng, i, flat) for i in range(rng.randint(1, 3))), flat)


def _draw_stage(rng: random.Random, number: int, flat: bool) -> Stage:
    count = rng.randint(1, 5)
    container = "sequential" if flat else rng.choice(CONTAINERS)
    sums = container == "sums"
    possible = [style for style in STYLES if style != "post"] if sums else STYLES
    styles = possible if rng.random() < 0.5 else [rng.choice(possible)]
    projects = number > 0 and count > 1 and not sums and rng.random() < 0.5
    two = container in ("list", "attributes") and not projects and rng.random() < 0.4
    blocks: list[Spec] = []
    for i in range(count):
        spec = _draw_block(rng, rng.choice(styles), two, sums)
        if spec.total == "x += y" and blocks and blocks[-1].style == "post":
            # The activation before keeps its output for the backward pass.
            spec = replace(spec, total="x + y")
        if i == 0 and projects:
            spec = replace(spec, projects=True, total="x + y")
        blocks.append(spec)
    # Not fewer than 8: where 4 channels lie channels-last, the backward of oneDNN's strided 1x1
    # convolution writes past its buffer on processors without AVX-512 (torch 2.14.1).
    return Stage(rng.choice((8, 16)), container, tuple(blocks))


def _draw_block(rng: random.Random, style: str, two: bool, sums: bool) -> Spec:
    # Layers on each position alone that widen are an MLP: after a convolution, in a wrapper of the
    # same class or where the stage makes the sums, that is the second part of one block.
    may_be_mlp = style == "wrapped dense" or (style == "dense" and sums)
    kernel = rng.choice((3, 5) if may_be_mlp else (1, 3, 5))
    return Spec(
        norm=rng.choice(NORMS),
        activation=rng.choice(list(ACTIVATIONS)),
        kernel=kernel,
        depthwise=rng.random() < 0.3,
        squeeze=rng.random() < 0.3,
        scale=rng.choice(("", "number", "vector")),
        drop_path=rng.choice((0.0, 0.3)),
        style=style,
        total="" if sums else rng.choice(SUMS),
        shares=tuple(part for part in ("act", "norm", "conv") if rng.random() < 0.2),
        two=rng.choice(("", "as it was", "updated")) if two else "",
    )


def _groups(row: Sequence[str]) -> list[Sequence[str]]:
    count = max(1, min(4, len(row) // 2))
    size, larger = divmod(len(row), count)
    ends = [size * (i + 1) + min(i + 1, larger) for i in range(count)]
    return [row[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _child(container: str, number: int) -> str:
    return {
        "sequential": f"{number}",
        "list": f"blocks.{number}",
        "attributes": f"block{number + 1}",
        "nested": f"inner.blocks.{number}",
        "sums": f"branches.{number}",
    }[container]


class ChannelNorm(nn.Module):
    """A layer norm over the channels of a picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape)
        return (y * self.weight + self.bias).permute(0, 3, 1, 2)


class DropPath(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class Pool:
    """Makes the parts of a stage's blocks; some blocks get what another one has."""

    def __init__(self) -> None:
        self._kept: dict[object, nn.Module] = {}

    def norm(self, spec: Spec, width: int) -> nn.Module:
        makers = {
            "batch": nn.BatchNorm2d,
            "group": lambda width: nn.GroupNorm(2, width),
            "layer": ChannelNorm,
            "none": lambda _: nn.Identity(),
        }
        return self._get(spec, "norm", (spec.norm, width), lambda: makers[spec.norm](width))

    def act(self, spec: Spec) -> nn.Module:
        return self._get(spec, "act", spec.activation, ACTIVATIONS[spec.activation])

    def conv(self, spec: Spec, width: int, out: int, stride: int = 1) -> nn.Module:
        form = (width, out, stride, spec.kernel, spec.depthwise)
        return self._get(spec, "conv", form, lambda: _convolution(spec, width, out, stride))

    def _get(self, spec: Spec, part: str, form: object, make: Callable[[], nn.Module]) -> nn.Module:
        if part not in spec.shares:
            return make()
        return self._kept.setdefault((part, form), make())


def _convolution(spec: Spec, width: int, out: int, stride: int) -> nn.Module:
    if not spec.depthwise:
        return conv(width, out, stride, spec.kernel)
    half = spec.kernel // 2
    depthwise = nn.Conv2d(width, width, spec.kernel, stride, half, groups=width, bias=False)
    return nn.Sequential(depthwise, conv(width, out, kernel=1))


class Dense(nn.Module):
    """Each layer takes what all before it gave."""

    def __init__(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = pool.conv(spec, width, out, stride)
        self.second = pool.conv(spec, out, out)
        self.norm, self.act = pool.norm(spec, 2 * out), pool.act(spec)
        self.project = conv(2 * out, out, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.cat([x, self.second(self.act(x))], 1)
        return self.project(self.act(self.norm(x)))


class Block(nn.Module):
    """What all blocks have in common; each class computes its branch in its own way."""

    def __init__(self, spec: Spec, pool: Pool, width: int, out: int) -> None:
        super().__init__()
        stride = 2 if spec.projects else 1
        self.total, self.two = spec.total, spec.two
        self.fill(spec, pool, width, out, stride)
        if spec.squeeze:
            self.se = SqueezeExcite(out)
        self.scale: nn.Parameter | float = 1.0
        if spec.scale:
            self.scale = nn.Parameter(torch.ones((out, 1, 1) if spec.scale == "vector" else ()))
        self.drop_path = DropPath(spec.drop_path)
        self.project = conv(width, out, stride, 1) if spec.projects else None
        if spec.two == "updated":
            self.fc = nn.Linear(out, out)

    def fill(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        raise NotImplementedError

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor, vector: torch.Tensor | None = None) -> object:
        # A sum onto the shortcut's memory must not change what the layers keep for backward.
        y = self.branch(x.clone() if self.total == "x += y" else x)
        if hasattr(self, "se"):
            y = self.se(y)
        y = self.drop_path(y * self.scale)
        if not self.total:
            return y
        x = self.sum(x if self.project is None else self.project(x), y)
        if not self.two:
            return x
        return x, vector + self.fc(y.mean((2, 3))) if self.two == "updated" else vector

    def sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.total == "y += x":
            y += x
            return y
        if self.total == "x += y":
            x += y
            return x
        if self.total == "y.add_(x)":
            return y.add_(x)
        return x + y if self.total == "x + y" else y + x


class Pre(Block):
    def fill(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        self.norm1, self.conv1 = pool.norm(spec, width), pool.conv(spec, width, out, stride)
        self.norm2, self.conv2 = pool.norm(spec, out), pool.conv(spec, out, out)
        self.act = pool.act(spec)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.act(self.norm2(self.conv1(self.act(self.norm1(x))))))


class Post(Block):
    def fill(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        self.conv1, self.norm1 = pool.conv(spec, width, out, stride), pool.norm(spec, out)
        self.conv2, self.norm2 = pool.conv(spec, out, out), pool.norm(spec, out)
        self.act = pool.act(spec)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))

    def sum(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.act(super().sum(x, y))


class DenseBlock(Block):
    def fill(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        self.dense = Dense(spec, pool, width, out, stride)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x)


class Wrapped(Block):
    """A wrapper of any branch."""

    def fill(self, spec: Spec, pool: Pool, width: int, out: int, stride: int) -> None:
        layers = [pool.norm(spec, width), pool.conv(spec, width, out, stride), pool.act(spec)]
        layers += [pool.norm(spec, out), pool.conv(spec, out, out)]
        dense = spec.style == "wrapped dense"
        self.fn = Dense(spec, pool, width, out, stride) if dense else nn.Sequential(*layers)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(x)


CLASSES = {
    "pre": Pre,
    "post": Post,
    "dense": DenseBlock,
    "wrapped": Wrapped,
    "wrapped dense": Wrapped,
}


class Left(nn.Module):
    """What is left of a block without its branch: the activation after the sum, if there is one."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.two = ""
        self.act = ACTIVATIONS[spec.activation]() if spec.style == "post" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


class _Rows(nn.Module):
    """A stage with a loop of its own; some of its blocks take and give a vector as well."""

    def __init__(self, blocks: Sequence[nn.Module], listed: bool, two: bool) -> None:
        super().__init__()
        self.two = two
        self.names = [] if listed else [f"block{i + 1}" for i in range(len(blocks))]
        if listed:
            self.blocks = nn.ModuleList(blocks)
        for name, block in zip(self.names, blocks, strict=False):
            self.add_module(name, block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vector = x.mean((2, 3))
        for block in [getattr(self, name) for name in self.names] or self.blocks:
            if block.two:
                x, vector = block(x, vector)
            else:
                x = block(x)
        return x * vector[..., None, None].sigmoid() if self.two else x


class _Sums(nn.Module):
    """A stage that adds the branches itself."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for branch in self.branches:
            if not isinstance(branch, Left):
                x = x + branch(x)
        return x


class _Nested(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.blocks(x)


def _contained(stage: Stage, blocks: Sequence[nn.Module]) -> nn.Module:
    if stage.container == "sequential":
        return nn.Sequential(*blocks)
    if stage.container == "nested":
        return _Nested(blocks)
    if stage.container == "sums":
        return _Sums(blocks)
    two = any(spec.two for spec in stage.blocks)
    return _Rows(blocks, listed=stage.container == "list", two=two)


class _Network(nn.Module):
    def __init__(self, mixed: Mixed, without: Collection[str]) -> None:
        super().__init__()
        width = mixed.stages[0].width
        self.stem = nn.Sequential(conv(3, width), nn.BatchNorm2d(width))
        parts: dict[str, nn.Module] = {}
        for i, (stage, names) in enumerate(zip(mixed.stages, mixed.rows(), strict=True)):
            if i and not stage.blocks[0].projects:
                down = [nn.BatchNorm2d(width), nn.Conv2d(width, stage.width, 2, 2)]
                parts[f"down{i}"], width = nn.Sequential(*down), stage.width
            pool, blocks = Pool(), []
            for spec, name in zip(stage.blocks, names, strict=True):
                block = CLASSES[spec.style](spec, pool, width, stage.width)
                blocks.append(Left(spec) if name in without else block)
                width = stage.width
            if mixed.flat:
                parts |= {f"block{i}.{j}": block for j, block in enumerate(blocks)}
            else:
                parts[f"stage{i}"] = _contained(stage, blocks)
        self.features = nn.Sequential(*parts.values()) if mixed.flat else nn.Identity()
        self.names = () if mixed.flat else tuple(parts)
        for name in self.names:
            self.add_module(name, parts[name])
        self.norm, self.head = nn.BatchNorm2d(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(self.stem(x))
        for name in self.names:
            x = getattr(self, name)(x)
        return self.head(self.norm(x).mean((2, 3)))
