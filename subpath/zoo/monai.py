"""Networks of MONAI: three-dimensional images, segmenters, diffusion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, image, noise, tokens

_FLAT: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_DEEP: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
_VOLUME = given(partial(noise, 2, 1, 32, 32, 32))
_SMALL_VOLUME = given(partial(noise, 2, 1, 16, 16, 16))
_PICTURE = image(32, channels=1)
_VIT: dict[str, Any] = {"in_channels": 1, "hidden_size": 32, "mlp_dim": 64, "num_heads": 4}


def _entry(name: str, inputs: Callable[[], Inputs], **arguments: Any) -> Network:
    return Network(partial(_make, name, arguments), inputs)


def _make(name: str, arguments: dict[str, Any]) -> nn.Module:
    import monai.networks.nets

    made: nn.Module = getattr(monai.networks.nets, name)(**arguments)
    return made


def _steps() -> torch.Tensor:
    return torch.tensor([3, 7])


_NETWORKS = {
    "attention-unet": _entry(
        "AttentionUnet", _PICTURE, **_FLAT, channels=(8, 16, 32), strides=(2, 2)
    ),
    "autoencoder-kl": _entry(
        "AutoencoderKL",
        _PICTURE,
        spatial_dims=2,
        num_res_blocks=(2, 2),
        channels=(16, 16),
        attention_levels=(False, False),
        norm_num_groups=8,
    ),
    "autoencoder-residual": _entry(
        "AutoEncoder",
        _PICTURE,
        **_FLAT,
        channels=(8, 16),
        strides=(2, 2),
        inter_channels=[16, 16, 16, 16],
        num_inter_units=2,
    ),
    "decoder-only-transformer": _entry(
        "DecoderOnlyTransformer",
        given(tokens),
        num_tokens=99,
        max_seq_len=16,
        attn_layers_dim=32,
        attn_layers_depth=4,
        attn_layers_heads=4,
    ),
    "diffusion-unet": _entry(
        "DiffusionModelUNet",
        given(partial(noise, 2, 1, 16, 16), _steps),
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        num_res_blocks=(2, 2),
        channels=(16, 32),
        attention_levels=(False, True),
        norm_num_groups=8,
    ),
    "dynunet-residual": _entry(
        "DynUNet",
        _PICTURE,
        **_FLAT,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[8, 16, 32],
        res_block=True,
    ),
    "flexible-unet": _entry(
        "FlexibleUNet",
        image(64),
        in_channels=3,
        out_channels=2,
        backbone="resnet18",
        decoder_channels=(32, 16, 8, 8, 8),
    ),
    "highresnet": _entry("HighResNet", _SMALL_VOLUME, **_DEEP),
    "mednext": _entry("MedNeXt", _PICTURE, **_FLAT, init_filters=8, use_residual_connection=True),
    "resnet-3d": _entry(
        "ResNet",
        _VOLUME,
        block="basic",
        layers=[2, 2, 2, 2],
        block_inplanes=[8, 16, 32, 64],
        n_input_channels=1,
        num_classes=2,
    ),
    "segresnet": _entry("SegResNet", _VOLUME, **_DEEP),
    "segresnet-deep-supervision": _entry(
        "SegResNetDS", _VOLUME, **_DEEP, init_filters=8, norm="instance", dsdepth=2
    ),
    "segresnet-vae": _entry(
        "SegResNetVAE", _SMALL_VOLUME, **_DEEP, input_image_size=(16, 16, 16), vae_nz=16
    ),
    "senet": _entry(
        "SENet",
        _PICTURE,
        spatial_dims=2,
        in_channels=1,
        block="se_resnet_bottleneck",
        layers=(2, 2, 4, 2),
        groups=1,
        reduction=8,
        inplanes=64,
        num_classes=2,
    ),
    "swin-unetr": _entry(
        "SwinUNETR", given(partial(noise, 2, 1, 64, 64)), **_FLAT, feature_size=12, window_size=4
    ),
    "swin-unetr-3d": _entry(
        "SwinUNETR",
        given(partial(noise, 2, 1, 64, 32, 32)),
        **_DEEP,
        feature_size=12,
        window_size=2,
        dropout_path_rate=0.1,
    ),
    "swin-unetr-v2": _entry(
        "SwinUNETR",
        given(partial(noise, 2, 1, 64, 64)),
        **_FLAT,
        feature_size=12,
        window_size=4,
        use_v2=True,
    ),
    "unet-residual": _entry(
        "UNet", _PICTURE, **_FLAT, channels=(8, 16, 32), strides=(2, 2), num_res_units=4
    ),
    "unetr": _entry(
        "UNETR",
        _VOLUME,
        in_channels=1,
        out_channels=2,
        img_size=(32, 32, 32),
        feature_size=4,
        hidden_size=32,
        mlp_dim=64,
        num_heads=4,
    ),
    "vit": _entry(
        "ViT",
        _VOLUME,
        **_VIT,
        img_size=(32, 32, 32),
        patch_size=(16, 16, 16),
        num_layers=4,
        classification=True,
    ),
    "vit-autoencoder": _entry(
        "ViTAutoEnc",
        _PICTURE,
        **_VIT,
        img_size=(32, 32),
        patch_size=(4, 4),
        num_layers=4,
        spatial_dims=2,
    ),
    "vnet": _entry("VNet", _PICTURE, **_FLAT, dropout_dim=2, dropout_prob_down=0.2),
}

MONAI = Catalogue("monai", "monai", "monai", _NETWORKS)
