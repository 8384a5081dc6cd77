"""An adaptive model as a backbone: the outputs of its stages, as feature maps if asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from ..errors import SubpathError
from ..planning import StagePlan
from .codegen import dispatches
from .gates import GatedGraph

_MOST_EXTRA = 9  # class, distillation and register tokens beside an image's patches


class FeatureInfo(list[dict[str, Any]]):
    """What ``features`` gives, one dict a stage, with the methods of timm's ``FeatureInfo``.

    Keys: ``num_chs``; ``reduction``, pixels of the input for one of the output (``None`` if the
    output is no feature map); ``module``, the path of the stage's last block.
    """

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Channels of all stages, of one or of some."""
        return self._get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Reduction (stride) of all stages, of one or of some."""
        return self._get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Module path of all stages, of one or of some."""
        return self._get("module", idx)

    def _get(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return self[idx][key]
        return [self[number][key] for number in (range(len(self)) if idx is None else idx)]


@dataclass(frozen=True)
class Layout:
    """How a stage's output lies in memory.

    Attributes:
        channel_dim: the dimension of the channels.
        dims: how many dimensions there are.
        reduction: pixels of the input for one of the output; ``None``: it is no feature map.
        extra: tokens that are no patches of the image; they stand first.
    """

    channel_dim: int
    dims: int
    reduction: int | None
    extra: int

    @dispatches
    def feature_map(self, feature: torch.Tensor, given: Sequence[int]) -> torch.Tensor:
        """``feature`` as batch, channels, rows, columns; ``given`` is the input's shape."""
        if self.dims == 4:
            return feature.movedim(self.channel_dim, 1).contiguous()
        tokens: torch.Tensor = feature.movedim(self.channel_dim, 1)[..., self.extra :]
        rows, columns = given[-2] // (self.reduction or 1), given[-1] // (self.reduction or 1)
        if self.reduction is None or tokens.shape[-1] != rows * columns:
            raise SubpathError(
                f"got output_fmt='NCHW' for a stage with an output of shape {list(feature.shape)}; "
                "expected a feature map. Use output_fmt='network'"
            )
        return tokens.reshape(*tokens.shape[:2], rows, columns)


def layouts(gated: GatedGraph, stages: Sequence[StagePlan]) -> tuple[Layout, ...]:
    """The layout of each stage's output, from the shapes in the graph."""
    shapes = [gated.facts[node].shape for node in gated.graph.find_nodes(op="placeholder")]
    first = shapes[0] or ()
    size = (first[2], first[3]) if len(first) == 4 else None
    pairs = zip(gated.ends, stages, strict=True)
    return tuple(_layout(gated, end, stage.channel_dim, size) for end, stage in pairs)


def layouts_by_shape(
    stages: Sequence[StagePlan], given: Sequence[int] | None
) -> tuple[Layout, ...]:
    """The layout of each stage's output, from its shape and that of the input alone."""
    size = (given[2], given[3]) if given is not None and len(given) == 4 else None
    found = []
    for stage in stages:
        shape = (1, *stage.output_shape)
        spatial = [n for dim, n in enumerate(shape) if dim not in (0, stage.channel_dim)]
        reduction, extra = None, 0
        if size is not None and len(spatial) == 2:
            reduction = round(size[0] / spatial[0])
        elif size is not None and len(spatial) == 1:
            grids = ((_grid(spatial[0] - more, size), more) for more in range(_MOST_EXTRA))
            reduction, extra = next((grid for grid in grids if grid[0]), (None, 0))
        found.append(Layout(stage.channel_dim, len(shape), reduction, extra))
    return tuple(found)


def _layout(
    gated: GatedGraph, end: fx.Node, channel_dim: int, size: tuple[int, int] | None
) -> Layout:
    shape = gated.facts[end].shapes[0]
    spatial = [n for dim, n in enumerate(shape) if dim not in (0, channel_dim)]
    if size is None or len(spatial) not in (1, 2):
        return Layout(channel_dim, len(shape), None, 0)
    if len(spatial) == 2:
        return Layout(channel_dim, len(shape), round(size[0] / spatial[0]), 0)
    # A class token makes the number no grid: that of the patches is then found further back.
    for tokens in (spatial[0], *_fewer_tokens(gated, end, spatial[0])):
        reduction = _grid(tokens, size)
        if reduction is not None:
            return Layout(channel_dim, len(shape), reduction, spatial[0] - tokens)
    return Layout(channel_dim, len(shape), None, 0)


def _grid(tokens: int, size: tuple[int, int]) -> int | None:
    """Pixels of an edge of a square patch if ``tokens`` such patches fill the image."""
    edge = round((prod(size) / tokens) ** 0.5)
    fills = all(n % edge == 0 for n in size) and prod(size) == tokens * edge * edge
    return edge if fills else None


def _fewer_tokens(gated: GatedGraph, end: fx.Node, most: int) -> Iterator[int]:
    """The numbers of tokens below ``most`` in what leads to ``end``, nearest first."""
    needed = {end}
    for node in reversed(gated.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
            shape = gated.facts[node].shape if node in gated.facts else None
            if shape is not None and len(shape) == 3 and 1 < shape[1] < most:
                yield shape[1]
