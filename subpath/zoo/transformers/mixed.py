"""Networks of two kinds of input: their towers, and both together."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..examples import named, noise, padded, tokens
from .entry import SIZES, TEXT, WORDS, network, pixels

_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WORDS: dict[str, Any] = {**WORDS, **_SPECIAL, "max_position_embeddings": 24}
_IMAGE: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
_BOTH = named(input_ids=tokens, attention_mask=padded, pixel_values=partial(noise, 2, 3, 32, 32))
_PAIR: dict[str, Any] = {"text_config": _WORDS, "vision_config": _IMAGE, "projection_dim": 16}


def _words_and_places() -> Tensor:
    """Words of which the first sixteen are places for the patches of an image."""
    return torch.cat([torch.full((2, 16), 98), tokens()], dim=1)


NETWORKS = {
    "altclip": network(
        "AltCLIPModel",
        _BOTH,
        text_config={**_WORDS, "project_dim": 16},
        vision_config={**_IMAGE, "projection_dim": 16},
        projection_dim=16,
    ),
    "blip": network(
        "BlipModel",
        _BOTH,
        text_config={**_WORDS, "projection_dim": 16, "encoder_hidden_size": 32},
        vision_config=_IMAGE,
        projection_dim=16,
    ),
    "blip-text": network("BlipTextModel", TEXT, **_WORDS, encoder_hidden_size=32),
    "blip-vision": network("BlipVisionModel", pixels(), **_IMAGE),
    "bridgetower": network(
        "BridgeTowerModel",
        _BOTH,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        text_config=_WORDS,
        vision_config={
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "image_size": 32,
            "patch_size": 8,
        },
    ),
    "chinese-clip": network("ChineseCLIPModel", _BOTH, **_PAIR),
    "clap-audio": network(
        "ClapAudioModel",
        named(input_features=lambda: noise(2, 1, 60, 16)),
        hidden_size=64,
        projection_dim=16,
        spec_size=64,
        num_mel_bins=16,
        patch_size=4,
        patch_stride=[4, 4],
        patch_embeds_hidden_size=16,
        depths=[2, 2, 2],
        num_attention_heads=[2, 2, 4],
        window_size=4,
    ),
    "clip": network("CLIPModel", _BOTH, **_PAIR),
    "clip-text": network("CLIPTextModel", TEXT, **_WORDS),
    "clip-vision": network("CLIPVisionModel", pixels(), **_IMAGE),
    "clipseg": network(
        "CLIPSegForImageSegmentation",
        _BOTH,
        **_PAIR,
        extract_layers=[1, 2, 3],
        reduce_dim=16,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=32,
    ),
    "flava-image": network("FlavaImageModel", pixels(), **_IMAGE),
    "git": network("GitModel", _BOTH, **_WORDS, vision_config=_IMAGE, use_cache=False),
    "groupvit-vision": network(
        "GroupViTVisionModel",
        pixels(),
        hidden_size=32,
        intermediate_size=64,
        depths=[4, 2, 2],
        num_group_tokens=[8, 4, 0],
        num_output_groups=[8, 4, 2],
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        assign_mlp_ratio=[0.5, 2],
    ),
    "clip-vision-projection": network(
        "CLIPVisionModelWithProjection", pixels(), **_IMAGE, projection_dim=16
    ),
    "llava": network(
        "LlavaModel",
        named(
            input_ids=_words_and_places,
            pixel_values=lambda: noise(2, 3, 32, 32),
        ),
        text_config={"model_type": "llama", **_WORDS, "num_key_value_heads": 2, "use_cache": False},
        vision_config={"model_type": "clip_vision_model", **_IMAGE},
        image_token_index=98,
        vision_feature_layer=-1,
    ),
    "lxmert": network(
        "LxmertModel",
        named(
            input_ids=tokens,
            attention_mask=padded,
            visual_feats=lambda: noise(2, 5, 16),
            visual_pos=lambda: noise(2, 5, 4),
        ),
        vocab_size=99,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        l_layers=4,
        x_layers=4,
        r_layers=4,
        visual_feat_dim=16,
    ),
    "owlvit": network("OwlViTModel", _BOTH, **_PAIR),
    "owlvit-detector": network(
        "OwlViTForObjectDetection", _BOTH, **{**_PAIR, "projection_dim": 32}
    ),
    "siglip": network("SiglipModel", _BOTH, text_config=_WORDS, vision_config=_IMAGE),
    "siglip-text": network("SiglipTextModel", TEXT, **_WORDS),
    "siglip-vision": network("SiglipVisionModel", pixels(), **_IMAGE),
    "vilt": network("ViltModel", _BOTH, **_IMAGE, vocab_size=99, max_position_embeddings=24),
    "xclip-vision": network(
        "XCLIPVisionModel",
        pixels(),
        **_IMAGE,
        num_frames=2,
        mit_hidden_size=32,
        mit_intermediate_size=64,
        mit_num_hidden_layers=4,
        mit_num_attention_heads=4,
    ),
    "visual-bert": network(
        "VisualBertModel",
        named(
            input_ids=tokens,
            attention_mask=padded,
            visual_embeds=lambda: noise(2, 5, 16),
        ),
        **WORDS,
        visual_embedding_dim=16,
    ),
}
