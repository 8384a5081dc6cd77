"""How a network of transformers is made: by its class, from sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ...graph.inputs import Inputs
from ..catalogue import Network
from ..examples import named, noise, padded, tokens


def network(model: str, inputs: Callable[[], Inputs], **sizes: Any) -> Network:
    """An entry.

    Args:
        model: the name of its class; its config class is known there.
        inputs: makes its inputs.
        **sizes: for its config.
    """
    return Network(partial(_make, model, sizes), inputs)


def _make(model: str, sizes: dict[str, Any]) -> nn.Module:
    import transformers

    made_by = getattr(transformers, model)
    made: nn.Module = made_by(made_by.config_class(**sizes))
    return made


def pixels(size: int = 32, channels: int = 3) -> Callable[[], Inputs]:
    """Makes a batch of two images."""
    return named(pixel_values=lambda: noise(2, channels, size, size))


TEXT = named(input_ids=tokens, attention_mask=padded)
WIDTHS: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
SIZES: dict[str, Any] = {**WIDTHS, "num_hidden_layers": 4}
WORDS: dict[str, Any] = {**SIZES, "vocab_size": 99}
