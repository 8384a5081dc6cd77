"""Networks of graphs (torch_geometric)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, noise

_POINTS, _CHANNELS = 20, 16


def _edges() -> Tensor:
    """A ring, and a chord from each point, in both directions."""
    start = torch.arange(_POINTS)
    ends = torch.cat([(start + 1) % _POINTS, (start + 7) % _POINTS])
    one_way = torch.stack([start.repeat(2), ends])
    return torch.cat([one_way, one_way.flip(0)], dim=1)


class _Stack(nn.Module):
    """Layers that take points and edges, between two linear maps, as in the library's examples."""

    def __init__(self, layer: Callable[[], nn.Module], depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(8, _CHANNELS)
        self.layers = nn.ModuleList(layer() for _ in range(depth))
        self.last = nn.Linear(_CHANNELS, 5)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        last: Tensor = self.last(x)
        return last


def _deep_gcn(block: str, convolution: str) -> nn.Module:
    from torch_geometric import nn as pyg

    def layer() -> nn.Module:
        convolve = getattr(pyg, convolution)(_CHANNELS, _CHANNELS)
        made: nn.Module = pyg.DeepGCNLayer(
            convolve, nn.LayerNorm(_CHANNELS), nn.ReLU(), block=block, dropout=0.1
        )
        return made

    return _Stack(layer, 8)


def _gps() -> nn.Module:
    from torch_geometric import nn as pyg

    def layer() -> nn.Module:
        convolve = pyg.GINConv(nn.Sequential(nn.Linear(_CHANNELS, _CHANNELS), nn.ReLU()))
        made: nn.Module = pyg.GPSConv(_CHANNELS, convolve, heads=4)
        return made

    return _Stack(layer, 4)


def _residual_convolution(name: str, **arguments: Any) -> nn.Module:
    from torch_geometric import nn as pyg

    return _Stack(lambda: getattr(pyg, name)(_CHANNELS, _CHANNELS, **arguments), 4)


def _model(name: str, **arguments: Any) -> nn.Module:
    from torch_geometric.nn import models

    made: nn.Module = getattr(models, name)(**arguments)
    return made


def _schnet() -> nn.Module:
    def neighbours(places: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        edges = _edges()
        return edges, (places[edges[0]] - places[edges[1]]).norm(dim=-1)

    return _model(
        "SchNet",
        hidden_channels=16,
        num_filters=16,
        num_interactions=6,
        num_gaussians=8,
        interaction_graph=neighbours,
    )


def _entry(
    make: Callable[..., nn.Module],
    *arguments: Any,
    inputs: Callable[[], Inputs] | None = None,
    **more: Any,
) -> Network:
    graph = given(partial(noise, _POINTS, 8), _edges)
    return Network(partial(make, *arguments, **more), inputs or graph)


_NETWORKS = {
    "attentive-fp": _entry(
        _model,
        "AttentiveFP",
        in_channels=8,
        hidden_channels=16,
        out_channels=5,
        edge_dim=4,
        num_layers=4,
        num_timesteps=2,
        inputs=given(
            partial(noise, _POINTS, 8),
            _edges,
            partial(noise, 4 * _POINTS, 4),
            lambda: torch.zeros(_POINTS, dtype=torch.long),
        ),
    ),
    "deep-gcn": _entry(_deep_gcn, "res+", "GENConv"),
    "deep-gcn-plain": _entry(_deep_gcn, "plain", "GENConv"),
    "deep-gcn-gat": _entry(_deep_gcn, "res+", "GATConv"),
    "deep-gcn-residual": _entry(_deep_gcn, "res", "GENConv"),
    "gat-residual": _entry(_residual_convolution, "GATv2Conv", residual=True),
    "gcn": _entry(_model, "GCN", in_channels=8, hidden_channels=16, num_layers=6, out_channels=5),
    "gps": _entry(_gps),
    "graph-u-net": _entry(
        _model, "GraphUNet", in_channels=8, hidden_channels=16, out_channels=5, depth=3
    ),
    "polynormer": _entry(
        _model,
        "Polynormer",
        in_channels=8,
        hidden_channels=16,
        out_channels=5,
        local_layers=4,
        global_layers=4,
        heads=2,
        inputs=given(
            partial(noise, _POINTS, 8), _edges, lambda: torch.zeros(_POINTS, dtype=torch.long)
        ),
    ),
    "schnet": _entry(
        _schnet,
        inputs=given(lambda: torch.arange(_POINTS) % 8 + 1, partial(noise, _POINTS, 3)),
    ),
}

TORCH_GEOMETRIC = Catalogue("torch_geometric", "torch_geometric", "torch_geometric", _NETWORKS)
