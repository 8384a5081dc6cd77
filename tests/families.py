"""Networks that the library promises to convert, with the depths their authors published.

The depths are read off the papers and the sources of timm and torchvision, not off our detector.
Sizes are the smallest that the network takes, so that tests are quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torchvision
from torch import nn


@dataclass(frozen=True)
class Network:
    """One network under test.

    Attributes:
        name: its name in timm, or in torchvision after ``tv:``.
        depths: published blocks of each stage that has more than one.
        size: height and width of the test input.
        arguments: for the constructor.
        any_size: whether other resolutions are accepted.
        drops: arguments that switch on dropout and stochastic depth.
        removed: what stands for a block taken out by hand (default: its first input).
    """

    name: str
    depths: tuple[int, ...]
    size: int = 64
    arguments: Mapping[str, Any] = field(default_factory=dict)
    any_size: bool = True
    drops: Mapping[str, Any] = field(default_factory=lambda: {"drop_path_rate": 0.2})
    removed: Callable[[nn.Module], nn.Module] | None = None

    def __str__(self) -> str:
        return self.name

    def build(self, **more: Any) -> nn.Module:
        """The network with seeded random weights; nothing is left at a value that hides errors."""
        torch.manual_seed(0)
        arguments = {**self.arguments, **more}
        if self.name.startswith("tv:"):
            model = torchvision.models.get_model(self.name[3:], **arguments)
        else:
            model = timm.create_model(self.name, **arguments)
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.is_meta and parameter.abs().max() < 1e-2:  # zero-initialised
                    parameter.add_(torch.rand_like(parameter) * 0.2)
        return model.eval()

    def images(self, batch: int = 2, size: int | None = None) -> torch.Tensor:
        """Seeded random images."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(batch, 3, size or self.size, size or self.size, generator=generator)


class First(nn.Module):
    """Stands for a removed block: gives back its first input."""

    def forward(self, x: torch.Tensor, *context: Any, **more: Any) -> torch.Tensor:
        return x


def _only_last_activation(block: nn.Module) -> nn.Module:
    """A CSP block ends with a leaky ReLU, which is not idempotent and so stays."""
    return block.get_submodule("act3")


def _img(size: int, **more: Any) -> dict[str, Any]:
    return {"size": size, "arguments": {"img_size": size}, "any_size": False, **more}


NO_DROPS: dict[str, Any] = {}  # torchvision's Swin drops paths by default

NETWORKS = (
    Network("resnet18", (2, 2, 2, 2)),
    Network("resnet50", (3, 4, 6, 3), drops={"drop_path_rate": 0.2, "drop_rate": 0.1}),
    Network("resnet101d", (3, 4, 23, 3)),
    Network("wide_resnet50_2", (3, 4, 6, 3)),
    Network("resnext50_32x4d", (3, 4, 6, 3)),
    Network("seresnet50", (3, 4, 6, 3)),
    Network("resnetv2_50", (3, 4, 6, 3)),
    Network("regnetx_002", (4, 7)),
    Network("regnety_002", (4, 7)),
    Network("res2net50_26w_4s", (3, 4, 6, 3)),
    Network("resnest26d", (2, 2, 2, 2)),
    Network("nf_resnet26", (2, 2, 2, 2)),
    Network("eca_nfnet_l0", (2, 6, 3)),
    Network("nfnet_f0", (2, 6, 3)),
    Network("mobilenetv2_100", (2, 3, 4, 3, 3)),
    Network("mobilenetv3_large_100", (2, 3, 4, 2, 3)),
    Network("mobilenetv4_conv_medium", (2, 8, 11)),
    Network("efficientnet_b0", (2, 2, 3, 3, 4)),
    Network("convnext_tiny", (3, 3, 9, 3)),
    Network("convnextv2_atto", (2, 2, 6, 2)),
    Network("poolformer_s12", (2, 2, 6, 2)),
    Network("caformer_s18", (3, 3, 9, 3)),
    Network("swin_tiny_patch4_window7_224", (2, 2, 6, 2), **_img(64)),
    Network("swinv2_tiny_window8_256", (2, 2, 6, 2), **_img(64)),
    Network("davit_tiny", (3,)),
    Network("maxvit_tiny_rw_224", (2, 2, 5, 2), **_img(64)),
    Network("coatnet_0_rw_224", (2, 3, 7, 2), **_img(64)),
    Network("pvt_v2_b0", (2, 2, 2, 2)),
    Network("mixer_s32_224", (2, 2, 2, 2), **_img(64)),
    Network("beit_base_patch16_224", (3, 3, 3, 3), **_img(64)),
    Network("deit_tiny_patch16_224", (3, 3, 3, 3), **_img(64)),
    Network("deit_tiny_distilled_patch16_224", (3, 3, 3, 3), **_img(64)),
    Network("eva02_tiny_patch14_224", (3, 3, 3, 3), **_img(56)),
    Network("vit_tiny_patch16_224", (3, 3, 3, 3), **_img(64)),
    Network("cait_xxs24_224", (6, 6, 6, 6), **_img(64)),
    Network("xcit_nano_12_p16_224", (3, 3, 3, 3)),
    Network("inception_resnet_v2", (10, 20, 10), size=96, drops={"drop_rate": 0.1}),
    Network("cspresnet50", (3, 3, 5, 2), removed=_only_last_activation),
    Network("tv:resnet50", (3, 4, 6, 3), drops=NO_DROPS),
    Network("tv:mobilenet_v2", (2, 3, 4, 3, 3), drops={"dropout": 0.2}),
    Network(
        "tv:vit_b_16",
        (3, 3, 3, 3),
        arguments={"image_size": 64},
        any_size=False,
        drops={"dropout": 0.1},
    ),
    Network("tv:swin_t", (2, 2, 6, 2), drops=NO_DROPS),
)
