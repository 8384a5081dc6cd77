"""Networks of x-transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, image, named, noise, padded, tokens

_SIZES: dict[str, Any] = {"dim": 32, "depth": 4, "heads": 4, "attn_dim_head": 8}
_WORDS = named(x=tokens, mask=lambda: padded().bool())


def _words(layers: str, arguments: dict[str, Any]) -> nn.Module:
    import x_transformers

    stack = getattr(x_transformers, layers)(**_SIZES, **arguments)
    made: nn.Module = x_transformers.TransformerWrapper(
        num_tokens=99, max_seq_len=16, attn_layers=stack
    )
    return made


def _numbers() -> nn.Module:
    import x_transformers

    made: nn.Module = x_transformers.ContinuousTransformerWrapper(
        dim_in=8, dim_out=8, max_seq_len=16, attn_layers=x_transformers.Encoder(**_SIZES)
    )
    return made


def _pictures() -> nn.Module:
    import x_transformers

    made: nn.Module = x_transformers.ViTransformerWrapper(
        image_size=32, patch_size=8, num_classes=10, attn_layers=x_transformers.Encoder(**_SIZES)
    )
    return made


def _pair() -> nn.Module:
    import x_transformers

    sizes = {"num_tokens": 99, "max_seq_len": 16, "depth": 4, "heads": 4, "attn_dim_head": 8}
    both = {f"{side}_{key}": value for side in ("enc", "dec") for key, value in sizes.items()}
    made: nn.Module = x_transformers.XTransformer(dim=32, **both)
    return made


def _entry(layers: str, inputs: Callable[[], Inputs] = _WORDS, **arguments: Any) -> Network:
    return Network(partial(_words, layers, arguments), inputs)


_NETWORKS = {
    "continuous": Network(_numbers, given(partial(noise, 2, 12, 8))),
    "decoder": _entry("Decoder"),
    "decoder-alibi": _entry("Decoder", alibi_pos_bias=True, alibi_num_heads=4),
    "decoder-modern": _entry(
        "Decoder", use_rmsnorm=True, ff_swish=True, ff_glu=True, rotary_pos_emb=True
    ),
    "decoder-residual-attention": _entry("Decoder", residual_attn=True),
    "encoder": _entry("Encoder"),
    "encoder-macaron": _entry("Encoder", macaron=True),
    "encoder-post-norm": _entry("Encoder", pre_norm=False),
    "encoder-relative": _entry("Encoder", rel_pos_bias=True),
    "encoder-residual-gate": _entry("Encoder", gate_residual=True),
    "encoder-sandwich": _entry("Encoder", sandwich_norm=True),
    "encoder-scaled": _entry("Encoder", scale_residual=True),
    "pair": Network(_pair, named(src=tokens, tgt=lambda: tokens(length=7))),
    "vit": Network(_pictures, image(32)),
}

X_TRANSFORMERS = Catalogue("x_transformers", "x_transformers", "x-transformers", _NETWORKS)
