"""Networks of sound and speech, and of time series."""

from __future__ import annotations

from typing import Any

import torch

from ..examples import named, noise, padded, positive, tokens
from .entry import SIZES, network

_WAVES = named(input_values=lambda: noise(2, 1200))
_WAV2VEC: dict[str, Any] = {
    **SIZES,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "mask_time_prob": 0.1,
    "mask_time_length": 4,
    "mask_time_min_masks": 1,
}
_STABLE: dict[str, Any] = {**_WAV2VEC, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}
_SPEECH: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def _series(length: int) -> torch.Tensor:
    return positive(2, length)


NETWORKS = {
    "ast": network(
        "ASTModel",
        named(input_values=lambda: noise(2, 24, 16)),
        **SIZES,
        patch_size=4,
        frequency_stride=4,
        time_stride=4,
        max_length=24,
        num_mel_bins=16,
    ),
    "data2vec-audio": network("Data2VecAudioModel", _WAVES, **_WAV2VEC),
    "dac": network(
        "DacModel",
        named(input_values=lambda: noise(2, 1, 256)),
        encoder_hidden_size=8,
        downsampling_ratios=[2, 4],
        decoder_hidden_size=32,
        upsampling_ratios=[4, 2],
        n_codebooks=2,
        codebook_size=16,
        codebook_dim=4,
    ),
    "encodec": network(
        "EncodecModel",
        named(input_values=lambda: noise(2, 1, 256)),
        num_filters=8,
        num_residual_layers=4,
        upsampling_ratios=[4, 2],
        codebook_size=16,
        codebook_dim=32,
        hidden_size=32,
        target_bandwidths=[24.0],
    ),
    "hubert": network("HubertModel", _WAVES, **_WAV2VEC),
    "mimi": network(
        "MimiModel",
        named(input_values=lambda: noise(2, 1, 512)),
        **SIZES,
        head_dim=8,
        num_key_value_heads=4,
        num_filters=8,
        num_residual_layers=2,
        upsampling_ratios=[4, 2],
        codebook_size=16,
        codebook_dim=16,
        vector_quantization_hidden_dimension=16,
        num_quantizers=4,
        upsample_groups=32,
        sliding_window=16,
        use_cache=False,
    ),
    "sew": network("SEWModel", _WAVES, **_WAV2VEC, squeeze_factor=2),
    "speech-to-text": network(
        "Speech2TextModel",
        named(
            input_features=lambda: noise(2, 40, 16),
            attention_mask=lambda: padded(length=40),
            decoder_input_ids=lambda: tokens(length=7),
        ),
        **_SPEECH,
        conv_channels=32,
        input_feat_per_channel=16,
        max_source_positions=40,
        max_target_positions=20,
    ),
    "patchtst": network(
        "PatchTSTModel",
        named(past_values=lambda: noise(2, 32, 3)),
        num_input_channels=3,
        context_length=32,
        patch_length=4,
        patch_stride=4,
        d_model=32,
        ffn_dim=64,
        num_attention_heads=4,
        num_hidden_layers=4,
    ),
    "patchtsmixer": network(
        "PatchTSMixerModel",
        named(past_values=lambda: noise(2, 32, 3)),
        num_input_channels=3,
        context_length=32,
        patch_length=4,
        patch_stride=4,
        d_model=16,
        num_layers=4,
    ),
    "unispeech-sat": network("UniSpeechSatModel", _WAVES, **_WAV2VEC),
    "wav2vec2": network("Wav2Vec2Model", _WAVES, **_WAV2VEC),
    "wav2vec2-ctc": network("Wav2Vec2ForCTC", _WAVES, **_STABLE, vocab_size=32, layerdrop=0.2),
    "wav2vec2-bert": network(
        "Wav2Vec2BertModel",
        named(input_features=lambda: noise(2, 24, 16), attention_mask=lambda: padded(length=24)),
        **SIZES,
        feature_projection_input_dim=16,
        conv_depthwise_kernel_size=5,
    ),
    "wav2vec2-conformer": network(
        "Wav2Vec2ConformerModel", _WAVES, **_WAV2VEC, conv_depthwise_kernel_size=5
    ),
    "wavlm": network("WavLMModel", _WAVES, **_WAV2VEC),
    "whisper": network(
        "WhisperModel",
        named(input_features=lambda: noise(2, 16, 40), decoder_input_ids=lambda: tokens(length=7)),
        **_SPEECH,
        num_mel_bins=16,
        max_source_positions=20,
        max_target_positions=20,
    ),
}
