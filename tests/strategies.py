"""Hypothesis strategies: random networks whose stages are known, and random skip configs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from torch import nn

import toys
from toys import ImageNet, Known, Toy, row

WIDTH = 4

PROJECTING = (toys.PostActivation, toys.PreActivation, toys.Bottleneck)
KEEPING = (
    toys.InPlaceSum,
    toys.InPlaceShortcut,
    toys.ChannelsLast,
    toys.LayoutCancels,
    toys.ScaledShortcut,
    toys.SmoothAfter,
)


@dataclass(frozen=True)
class Part:
    """One stage of a random network.

    Attributes:
        block: the class of its blocks.
        depth: how many.
        projects: whether its first block changes the shape (else a layer before it does).
    """

    block: Callable[..., nn.Module]
    depth: int
    projects: bool


def parts() -> st.SearchStrategy[Part]:
    """Stages of 1 to 4 blocks of any kind."""
    projecting = st.builds(Part, st.sampled_from(PROJECTING), st.integers(1, 4), st.booleans())
    keeping = st.builds(Part, st.sampled_from(KEEPING), st.integers(1, 4), st.just(False))
    return st.one_of(projecting, keeping)


@st.composite
def networks(draw: st.DrawFn) -> Toy:
    """Networks of 2 or 3 stages, two of them with identity shortcuts, one with a block to skip.

    The stages are children of the network, or of one container, or have their downsampling layer
    inside them.
    """
    found = draw(st.lists(parts(), min_size=2, max_size=3).filter(_has_something_to_skip))
    naming = draw(st.sampled_from((_flat, _nested, _inside)))
    make, names = naming(found)
    known = [
        row(name, part.depth, fixed=int(part.projects))
        for name, part in zip(names, found, strict=True)
    ]
    return Toy(make, tuple(k for k in known if k.blocks != k.fixed), size=16)


def skip_texts(stages: int) -> st.SearchStrategy[str]:
    """Skip configs of a network with so many stages."""
    return st.text("TF", min_size=stages, max_size=stages)


def expected_skippable(known: Known) -> tuple[str, ...]:
    """The last blocks but the first ``ceil(n / 2)`` (method, section 3.1)."""
    half = -(-len(known.blocks) // 2)
    return tuple(block for block in known.blocks[half:] if block not in known.fixed)


def _has_something_to_skip(found: list[Part]) -> bool:
    hierarchical = sum(part.depth > part.projects for part in found) > 1
    return hierarchical and any(part.depth > 1 for part in found)


def _blocks(part: Part) -> nn.Sequential:
    first = part.block(WIDTH, WIDTH, 2 if part.projects else 1)
    return nn.Sequential(first, *(part.block(WIDTH, WIDTH) for _ in range(part.depth - 1)))


def _down() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(WIDTH), nn.Conv2d(WIDTH, WIDTH, 2, 2))


class _WithDown(nn.Module):
    def __init__(self, part: Part) -> None:
        super().__init__()
        self.downsample = nn.Identity() if part.projects else _down()
        self.blocks = _blocks(part)

    def forward(self, x: nn.Module) -> nn.Module:
        return self.blocks(self.downsample(x))


Naming = tuple[Callable[[], nn.Module], list[str]]


def _flat(found: list[Part]) -> Naming:
    def make() -> nn.Module:
        children: dict[str, nn.Module] = {}
        for i, part in enumerate(found):
            if not part.projects:
                children[f"down{i}"] = _down()
            children[f"layer{i}"] = _blocks(part)
        return ImageNet(WIDTH, children)

    return make, [f"layer{i}" for i in range(len(found))]


def _nested(found: list[Part]) -> Naming:
    def make() -> nn.Module:
        steps: list[nn.Module] = []
        for part in found:
            steps += [nn.Identity() if part.projects else _down(), _blocks(part)]
        return ImageNet(WIDTH, {"stages": nn.Sequential(*steps)})

    return make, [f"stages.{2 * i + 1}" for i in range(len(found))]


def _inside(found: list[Part]) -> Naming:
    def make() -> nn.Module:
        return ImageNet(WIDTH, {"stages": nn.Sequential(*map(_WithDown, found))})

    return make, [f"stages.{i}.blocks" for i in range(len(found))]
