"""Networks of open_clip, by the configs that it takes."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from .catalogue import Catalogue, Network
from .examples import image, named, noise, tokens

_TEXT: dict[str, Any] = {
    "context_length": 12,
    "vocab_size": 99,
    "width": 32,
    "heads": 4,
    "layers": 4,
}
_VISION: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 8}
_BOTH = named(image=partial(noise, 2, 3, 32, 32), text=tokens)


def _clip(vision: dict[str, Any], text: dict[str, Any], **more: Any) -> nn.Module:
    from open_clip.model import CLIP

    made: nn.Module = CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text, **more)
    return made


def _coca() -> nn.Module:
    from open_clip import CoCa

    decoder = {"context_length": 11, "vocab_size": 99, "width": 32, "heads": 4, "layers": 4}
    made: nn.Module = CoCa(
        embed_dim=32,
        multimodal_cfg=decoder,
        text_cfg={**_TEXT, "embed_cls": True, "output_tokens": True, "context_length": 12},
        vision_cfg={**_VISION, "layers": 4, "attentional_pool": True, "output_tokens": True},
    )
    return made


def _tower(vision: dict[str, Any]) -> nn.Module:
    return _clip(vision, _TEXT).get_submodule("visual")


_VIT = {**_VISION, "layers": 4}
_RESNET = {**_VISION, "layers": [2, 2, 2, 2], "width": 8, "head_width": 64}

_NETWORKS = {
    "clip-resnet": Network(partial(_clip, _RESNET, _TEXT), _BOTH),
    "clip-vit": Network(partial(_clip, _VIT, _TEXT), _BOTH),
    "clip-vit-quick-gelu": Network(partial(_clip, _VIT, _TEXT, quick_gelu=True), _BOTH),
    "clip-timm": Network(
        partial(
            _clip,
            {"timm_model_name": "test_convnext", "timm_pool": "", "image_size": 32},
            _TEXT,
        ),
        _BOTH,
    ),
    "coca": Network(_coca, _BOTH),
    "resnet": Network(partial(_tower, _RESNET), image(32)),
    "vit": Network(partial(_tower, {**_VIT, "ls_init_value": 0.1}), image(32)),
    "vit-patch-dropout": Network(partial(_tower, {**_VIT, "patch_dropout": 0.25}), image(32)),
}

OPEN_CLIP = Catalogue("open_clip", "open_clip", "open_clip_torch", _NETWORKS)
