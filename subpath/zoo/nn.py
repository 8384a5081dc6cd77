"""The transformers of torch itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, named, noise, padded

_LAYER: dict[str, Any] = {"d_model": 32, "nhead": 4, "dim_feedforward": 64, "batch_first": True}


def _words(length: int = 12) -> Any:
    return noise(2, length, 32)


def _encoder(norm_first: bool, nested: bool = True, norm: bool = False) -> nn.Module:
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**_LAYER, norm_first=norm_first),
        num_layers=6,
        norm=nn.LayerNorm(32) if norm else None,
        enable_nested_tensor=nested and not norm_first,
    )


def _decoder(norm_first: bool) -> nn.Module:
    return nn.TransformerDecoder(
        nn.TransformerDecoderLayer(**_LAYER, norm_first=norm_first), num_layers=6
    )


def _both(norm_first: bool) -> nn.Module:
    return nn.Transformer(
        **_LAYER, num_encoder_layers=4, num_decoder_layers=4, norm_first=norm_first
    )


def _entry(
    make: Callable[..., nn.Module], inputs: Callable[[], Inputs], *arguments: Any
) -> Network:
    return Network(partial(make, *arguments), inputs)


_ONE = given(_words)
_TWO = given(partial(_words, 7), _words)
_PADDED = named(src=_words, src_key_padding_mask=lambda: padded() == 0)
_CAUSAL = named(
    tgt=partial(_words, 7),
    memory=_words,
    tgt_mask=lambda: nn.Transformer.generate_square_subsequent_mask(7),
    tgt_is_causal=lambda: True,
)

_NETWORKS = {
    "decoder": _entry(_decoder, _TWO, False),
    "decoder-causal": _entry(_decoder, _CAUSAL, False),
    "decoder-pre-norm": _entry(_decoder, _TWO, True),
    "encoder": _entry(_encoder, _ONE, False),
    "encoder-padded": _entry(_encoder, _PADDED, False, False),
    "encoder-nested": _entry(_encoder, _PADDED, False, True),
    "encoder-pre-norm": _entry(_encoder, _ONE, True, True, True),
    "transformer": _entry(_both, _TWO, False),
    "transformer-pre-norm": _entry(_both, _TWO, True),
}

NN = Catalogue("nn", "torch.nn", "torch", _NETWORKS)
