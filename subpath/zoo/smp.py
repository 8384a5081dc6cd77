"""Networks of segmentation_models_pytorch."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from .catalogue import Catalogue, Network
from .examples import image


def _entry(
    architecture: str, encoder: str = "resnet18", size: int = 64, **arguments: Any
) -> Network:
    return Network(partial(_make, architecture, encoder, arguments), image(size))


def _make(architecture: str, encoder: str, arguments: dict[str, Any]) -> nn.Module:
    import segmentation_models_pytorch as smp

    made_by = getattr(smp, architecture)
    made: nn.Module = made_by(encoder, encoder_weights=None, classes=3, **arguments)
    return made


_NARROW: dict[str, Any] = {"decoder_channels": (64, 32, 16, 8, 8)}

_NETWORKS = {
    "deeplabv3": _entry("DeepLabV3", decoder_channels=32),
    "deeplabv3plus": _entry("DeepLabV3Plus", decoder_channels=32),
    "dpt-vit": _entry("DPT", "tu-test_vit3", dynamic_img_size=True, decoder_readout="ignore"),
    "fpn": _entry("FPN", decoder_pyramid_channels=32, decoder_segmentation_channels=32),
    "fpn-regnet": _entry("FPN", "timm-regnety_002"),
    "linknet": _entry("Linknet"),
    "manet": _entry("MAnet", **_NARROW, decoder_pab_channels=16),
    "pan": _entry("PAN", size=128, decoder_channels=16),
    "pspnet": _entry("PSPNet"),
    "segformer-mit": _entry("Segformer", "mit_b0", decoder_segmentation_channels=32),
    "unet": _entry("Unet", **_NARROW),
    "unet-efficientnet": _entry("Unet", "efficientnet-b0", **_NARROW),
    "unet-mobileone": _entry("Unet", "mobileone_s0", **_NARROW),
    "unet-resnext": _entry("Unet", "resnext50_32x4d", **_NARROW),
    "unet-timm-convnext": _entry(
        "Unet", "tu-test_convnext", encoder_depth=4, decoder_channels=(64, 32, 16, 8)
    ),
    "unetplusplus": _entry("UnetPlusPlus", **_NARROW),
    "upernet": _entry("UPerNet", decoder_channels=32),
}

SMP = Catalogue("smp", "segmentation_models_pytorch", "segmentation-models-pytorch", _NETWORKS)
