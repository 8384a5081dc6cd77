"""Networks of diffusers: denoisers and autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import named, noise

_HEADS: dict[str, Any] = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 4}
_WORDS = partial(noise, 2, 6, 32)


def _steps() -> torch.Tensor:
    return torch.tensor([3, 7])


def _places(*length: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.arange(length[0] * 3).reshape(length[0], 3) % 4


def _entry(name: str, inputs: Callable[[], Inputs], **arguments: Any) -> Network:
    return Network(partial(_make, name, arguments), inputs)


def _make(name: str, arguments: dict[str, Any]) -> nn.Module:
    import diffusers

    made: nn.Module = getattr(diffusers, name)(**arguments)
    return made


_NETWORKS = {
    "autoencoder-kl": _entry(
        "AutoencoderKL",
        named(sample=partial(noise, 2, 3, 16, 16)),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=2,
        norm_num_groups=8,
    ),
    "autoencoder-tiny": _entry(
        "AutoencoderTiny",
        named(sample=partial(noise, 2, 3, 16, 16)),
        encoder_block_out_channels=(16, 16),
        decoder_block_out_channels=(16, 16),
        num_encoder_blocks=(1, 4),
        num_decoder_blocks=(4, 1),
    ),
    "controlnet": _entry(
        "ControlNetModel",
        named(
            sample=partial(noise, 2, 4, 8, 8),
            timestep=_steps,
            encoder_hidden_states=_WORDS,
            controlnet_cond=partial(noise, 2, 3, 64, 64),
        ),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
        conditioning_embedding_out_channels=(8, 16, 16, 16),
    ),
    "dit": _entry(
        "DiTTransformer2DModel",
        named(hidden_states=partial(noise, 2, 4, 8, 8), timestep=_steps, class_labels=_steps),
        **_HEADS,
        norm_num_groups=8,
        sample_size=8,
        num_embeds_ada_norm=10,
    ),
    "flux": _entry(
        "FluxTransformer2DModel",
        named(
            hidden_states=partial(noise, 2, 16, 8),
            encoder_hidden_states=_WORDS,
            pooled_projections=partial(noise, 2, 32),
            timestep=lambda: torch.tensor([0.3, 0.7]),
            img_ids=_places(16),
            txt_ids=_places(6),
        ),
        **_HEADS,
        num_single_layers=4,
        in_channels=8,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(2, 2, 4),
    ),
    "pixart": _entry(
        "PixArtTransformer2DModel",
        named(
            hidden_states=partial(noise, 2, 4, 8, 8),
            encoder_hidden_states=_WORDS,
            timestep=_steps,
            added_cond_kwargs=lambda: {"resolution": None, "aspect_ratio": None},
        ),
        **_HEADS,
        norm_num_groups=8,
        cross_attention_dim=32,
        sample_size=8,
        caption_channels=32,
        use_additional_conditions=False,
    ),
    "prior": _entry(
        "PriorTransformer",
        named(
            hidden_states=partial(noise, 2, 32),
            timestep=_steps,
            proj_embedding=partial(noise, 2, 32),
            encoder_hidden_states=_WORDS,
        ),
        **_HEADS,
        embedding_dim=32,
        num_embeddings=6,
    ),
    "sana": _entry(
        "SanaTransformer2DModel",
        named(
            hidden_states=partial(noise, 2, 4, 8, 8),
            encoder_hidden_states=_WORDS,
            timestep=_steps,
        ),
        **_HEADS,
        in_channels=4,
        out_channels=4,
        num_cross_attention_heads=4,
        cross_attention_head_dim=8,
        cross_attention_dim=32,
        caption_channels=32,
        sample_size=8,
        patch_size=1,
    ),
    "sd3": _entry(
        "SD3Transformer2DModel",
        named(
            hidden_states=partial(noise, 2, 4, 8, 8),
            encoder_hidden_states=_WORDS,
            pooled_projections=partial(noise, 2, 32),
            timestep=_steps,
        ),
        **_HEADS,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=8,
    ),
    "transformer-2d": _entry(
        "Transformer2DModel",
        named(hidden_states=partial(noise, 2, 32, 4, 4), encoder_hidden_states=_WORDS),
        **_HEADS,
        in_channels=32,
        norm_num_groups=8,
        cross_attention_dim=32,
    ),
    "unet-1d": _entry(
        "UNet1DModel",
        named(sample=partial(noise, 2, 14, 16), timestep=_steps),
        in_channels=14,
        out_channels=14,
        time_embedding_type="positional",
        use_timestep_embedding=True,
        down_block_types=("DownResnetBlock1D",) * 2,
        up_block_types=("UpResnetBlock1D",),
        mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock",
        block_out_channels=(16, 32),
        layers_per_block=2,
        act_fn="swish",
    ),
    "unet-2d": _entry(
        "UNet2DModel",
        named(sample=partial(noise, 2, 3, 16, 16), timestep=_steps),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=4,
        norm_num_groups=8,
    ),
    "unet-2d-condition": _entry(
        "UNet2DConditionModel",
        named(sample=partial(noise, 2, 4, 16, 16), timestep=_steps, encoder_hidden_states=_WORDS),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
        transformer_layers_per_block=4,
    ),
    "unet-3d-condition": _entry(
        "UNet3DConditionModel",
        named(sample=partial(noise, 2, 4, 2, 8, 8), timestep=_steps, encoder_hidden_states=_WORDS),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
    ),
    "vq": _entry(
        "VQModel",
        named(sample=partial(noise, 2, 3, 16, 16)),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=2,
        norm_num_groups=8,
        num_vq_embeddings=16,
    ),
    "wan": _entry(
        "WanTransformer3DModel",
        named(
            hidden_states=partial(noise, 2, 4, 2, 8, 8),
            timestep=_steps,
            encoder_hidden_states=_WORDS,
        ),
        **_HEADS,
        in_channels=4,
        out_channels=4,
        text_dim=32,
        freq_dim=32,
        ffn_dim=64,
    ),
}

DIFFUSERS = Catalogue("diffusers", "diffusers", "diffusers", _NETWORKS)
