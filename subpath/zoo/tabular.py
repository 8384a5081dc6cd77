"""Networks of tables of numbers and classes (rtdl_revisiting_models)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from .catalogue import Catalogue, Network
from .examples import given, noise


def _make(name: str, arguments: dict[str, Any]) -> nn.Module:
    import rtdl_revisiting_models

    made: nn.Module = getattr(rtdl_revisiting_models, name)(**arguments)
    return made


def _rows() -> torch.Tensor:
    return noise(4, 8)


def _classes() -> torch.Tensor:
    return torch.tensor([[0, 1], [2, 0], [1, 1], [2, 0]])


_RESNET: dict[str, Any] = {
    "d_in": 8,
    "d_out": 3,
    "d_block": 16,
    "d_hidden_multiplier": 2.0,
    "dropout1": 0.2,
    "dropout2": 0.1,
}
_FT: dict[str, Any] = {
    "d_out": 3,
    "d_block": 32,
    "attention_n_heads": 4,
    "attention_dropout": 0.1,
    "ffn_d_hidden": None,
    "ffn_d_hidden_multiplier": 2.0,
    "ffn_dropout": 0.1,
    "residual_dropout": 0.1,
}

_NETWORKS = {
    "ft-transformer": Network(
        partial(
            _make,
            "FTTransformer",
            {"n_cont_features": 8, "cat_cardinalities": [3, 2], "n_blocks": 4, **_FT},
        ),
        given(_rows, _classes),
    ),
    "resnet": Network(partial(_make, "ResNet", {"n_blocks": 4, **_RESNET}), given(_rows)),
    "resnet-deep": Network(partial(_make, "ResNet", {"n_blocks": 12, **_RESNET}), given(_rows)),
}

TABULAR = Catalogue("tabular", "rtdl_revisiting_models", "rtdl_revisiting_models", _NETWORKS)
