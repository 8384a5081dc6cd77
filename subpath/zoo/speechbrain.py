"""Networks of speechbrain."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, noise, tokens

_SIZES: dict[str, Any] = {"num_layers": 4, "d_model": 32, "nhead": 4}
_ASR: dict[str, Any] = {
    "tgt_vocab": 99,
    "input_size": 16,
    "d_model": 32,
    "nhead": 4,
    "num_encoder_layers": 4,
    "num_decoder_layers": 4,
    "d_ffn": 64,
}
_FRAMES = given(partial(noise, 2, 24, 32))
_SPEECH = given(partial(noise, 2, 24, 16), partial(tokens, 2, 7))
_MELS = given(partial(noise, 2, 24, 16))


def _entry(module: str, name: str, inputs: Callable[[], Inputs], **arguments: Any) -> Network:
    return Network(partial(_make, module, name, arguments), inputs)


def _make(module: str, name: str, arguments: dict[str, Any]) -> nn.Module:
    made_by = getattr(importlib.import_module(f"speechbrain.lobes.models.{module}"), name)
    made: nn.Module = made_by(**arguments)
    return made


_NETWORKS = {
    "asr-branchformer": _entry(
        "transformer.TransformerASR",
        "TransformerASR",
        _SPEECH,
        **_ASR,
        encoder_module="branchformer",
        attention_type="RelPosMHAXL",
        csgu_linear_units=64,
        kernel_size=5,
        normalize_before=True,
        causal=False,
    ),
    "asr-conformer": _entry(
        "transformer.TransformerASR",
        "TransformerASR",
        _SPEECH,
        **_ASR,
        encoder_module="conformer",
        attention_type="RelPosMHAXL",
        kernel_size=5,
        normalize_before=True,
        causal=False,
    ),
    "asr-transformer": _entry(
        "transformer.TransformerASR", "TransformerASR", _SPEECH, **_ASR, causal=False
    ),
    "branchformer": _entry(
        "transformer.Branchformer",
        "BranchformerEncoder",
        _FRAMES,
        **_SIZES,
        kernel_size=5,
        attention_type="regularMHA",
        csgu_linear_units=64,
    ),
    "conformer": _entry(
        "transformer.Conformer",
        "ConformerEncoder",
        _FRAMES,
        **_SIZES,
        d_ffn=64,
        kernel_size=5,
        attention_type="regularMHA",
    ),
    "contextnet": _entry(
        "ContextNet",
        "ContextNet",
        given(partial(noise, 2, 40, 16)),
        input_shape=(2, 40, 16),
        out_channels=32,
        conv_channels=[16] * 8,
        strides=[1] * 8,
        residuals=[True] * 8,
        num_blocks=8,
        num_layers=2,
    ),
    "diffwave": _entry(
        "DiffWave",
        "DiffWave",
        given(partial(noise, 2, 1, 256), lambda: torch.tensor([3, 7]), partial(noise, 2, 80, 1)),
        input_channels=80,
        residual_layers=6,
        residual_channels=16,
        dilation_cycle_length=3,
        total_steps=10,
    ),
    "ecapa-tdnn": _entry(
        "ECAPA_TDNN",
        "ECAPA_TDNN",
        _MELS,
        input_size=16,
        channels=[32, 32, 32, 32, 96],
        lin_neurons=16,
        attention_channels=16,
        se_channels=16,
    ),
    "hifigan": _entry(
        "HifiGAN",
        "HifiganGenerator",
        given(partial(noise, 2, 16, 24)),
        in_channels=16,
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=[[1, 3, 5, 1], [1, 3, 5, 1]],
        resblock_kernel_sizes=[3, 5],
        upsample_kernel_sizes=[4, 4],
        upsample_initial_channel=32,
        upsample_factors=[2, 2],
    ),
    "language-model": _entry(
        "transformer.TransformerLM",
        "TransformerLM",
        given(tokens),
        vocab=99,
        d_model=32,
        nhead=4,
        num_encoder_layers=4,
        d_ffn=64,
    ),
    "resnet": _entry(
        "ResNet",
        "ResNet",
        _MELS,
        input_size=16,
        channels=[16, 16, 32, 32],
        block_sizes=[2, 2, 4, 2],
        lin_neurons=16,
    ),
    "speech-enhancer": _entry(
        "transformer.TransformerSE",
        "CNNTransformerSE",
        _FRAMES,
        d_model=32,
        output_size=16,
        nhead=4,
        num_layers=4,
        d_ffn=64,
    ),
    "tasnet": _entry(
        "conv_tasnet",
        "MaskNet",
        given(partial(noise, 2, 16, 40)),
        N=16,
        B=16,
        H=32,
        P=3,
        X=4,
        R=2,
        C=2,
    ),
    "transformer": _entry(
        "transformer.Transformer",
        "TransformerEncoder",
        _FRAMES,
        **_SIZES,
        d_ffn=64,
        normalize_before=True,
    ),
    "transformer-post-norm": _entry(
        "transformer.Transformer",
        "TransformerEncoder",
        _FRAMES,
        **_SIZES,
        d_ffn=64,
        layerdrop_prob=0.2,
    ),
}

SPEECHBRAIN = Catalogue("speechbrain", "speechbrain", "speechbrain", _NETWORKS)
