"""Networks of pytorchcv: of its 867, one or two of each idea, the smallest."""

from __future__ import annotations

from functools import partial

from torch import nn

from .catalogue import Catalogue, Network
from .examples import image


def _make(name: str) -> nn.Module:
    from pytorchcv.model_provider import get_model

    made: nn.Module = get_model(name, pretrained=False)
    return made


_FOR_32_PIXELS = (
    "diapreresnet20_cifar10",
    "diaresnet20_cifar10",
    "fractalnet_cifar10",
    "msdnet22_cifar10",
    "preresnet20_cifar10",
    "resdropresnet20_cifar10",
    "resnet20_cifar10",
    "resnext20_32x2d_cifar10",
    "rir_cifar10",
    "ror3_56_cifar10",
    "sepreresnet20_cifar10",
    "seresnet20_cifar10",
    "shakedropresnet20_cifar10",
    "shakeshakeresnet20_2x16d_cifar10",
)
_FOR_224_PIXELS = (
    "airnet50_1x64d_r16",
    "bam_resnet18",
    "cbam_resnet18",
    "diracnet18v2",
    "dla34",
    "efficientnet_b0",
    "espnetv2_wd2",
    "fbnet_cb",
    "hrnet_w18_small_v1",
    "igcv3_wd4",
    "mixnet_s",
    "mobilenetv2_wd4",
    "octresnet10_ad2",
    "preresnet18_wd4",
    "regnety002",
    "resnesta18",
    "resnet18_wd4",
    "resneta18",
    "revnet38",
    "seresnet18",
    "sharesnet18",
    "spnasnet",
    "sqnxt23_w1",
    "squeezeresnet_v1_1",
    "tresnet_m",
)

_NETWORKS = {
    **{name: Network(partial(_make, name), image(32)) for name in _FOR_32_PIXELS},
    **{name: Network(partial(_make, name), image(224)) for name in _FOR_224_PIXELS},
}

PYTORCHCV = Catalogue("pytorchcv", "pytorchcv", "pytorchcv", _NETWORKS)
