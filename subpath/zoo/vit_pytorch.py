"""Networks of vit-pytorch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..graph.inputs import Inputs
from .catalogue import Catalogue, Network
from .examples import given, image, noise

_ViT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 10,
    "dim": 32,
    "depth": 4,
    "heads": 4,
}
_WIDE: dict[str, Any] = {**_ViT, "mlp_dim": 64}
_DROPPING: dict[str, Any] = {**_WIDE, "dropout": 0.1, "emb_dropout": 0.1}
_VIDEO: dict[str, Any] = {**_WIDE, "frames": 4, "frame_patch_size": 2}
_VIDEOS = given(partial(noise, 2, 3, 4, 32, 32))
_SERIES = given(partial(noise, 2, 3, 32))


def _entry(
    module: str, name: str = "ViT", inputs: Callable[[], Inputs] | None = None, **arguments: Any
) -> Network:
    return Network(partial(_make, module, name, arguments), inputs or image(32))


def _make(module: str, name: str, arguments: dict[str, Any]) -> nn.Module:
    made_by = getattr(importlib.import_module(f"vit_pytorch.{module}"), name)
    made: nn.Module = made_by(**arguments)
    return made


_NETWORKS = {
    "cait": _entry("cait", "CaiT", **_DROPPING, cls_depth=4, layer_dropout=0.05),
    "cct": _entry(
        "cct",
        "CCT",
        img_size=32,
        embedding_dim=32,
        num_layers=4,
        num_heads=4,
        mlp_ratio=2,
        num_classes=10,
        n_conv_layers=1,
    ),
    "cross-vit": _entry(
        "cross_vit",
        "CrossViT",
        image_size=32,
        num_classes=10,
        depth=4,
        sm_dim=32,
        lg_dim=48,
        sm_patch_size=4,
        sm_enc_heads=4,
        sm_enc_mlp_dim=64,
        sm_enc_dim_head=8,
        lg_patch_size=8,
        lg_enc_heads=4,
        lg_enc_mlp_dim=64,
        lg_enc_dim_head=8,
    ),
    "crossformer": _entry(
        "crossformer",
        "CrossFormer",
        image(64),
        num_classes=10,
        dim=(32, 64, 96, 128),
        depth=(2, 2, 4, 2),
        global_window_size=(4, 4, 2, 1),
        local_window_size=2,
    ),
    "cvt": _entry(
        "cvt",
        "CvT",
        image(64),
        num_classes=10,
        s1_emb_dim=16,
        s1_depth=2,
        s2_emb_dim=32,
        s2_heads=2,
        s2_depth=2,
        s3_emb_dim=48,
        s3_heads=2,
        s3_depth=4,
    ),
    "deep-vit": _entry("deepvit", "DeepViT", **_DROPPING),
    "levit": _entry(
        "levit",
        "LeViT",
        image(64),
        image_size=64,
        num_classes=10,
        stages=3,
        dim=(32, 48, 64),
        depth=2,
        heads=(2, 2, 2),
        mlp_mult=2,
    ),
    "max-vit": _entry(
        "max_vit",
        "MaxViT",
        image(64),
        num_classes=10,
        dim=16,
        dim_conv_stem=16,
        dim_head=8,
        depth=(2, 2),
        window_size=4,
    ),
    "mobile-vit": _entry(
        "mobile_vit",
        "MobileViT",
        image(64),
        image_size=(64, 64),
        dims=[32, 32, 48],
        channels=[8, 16, 16, 16, 24, 24, 32, 32, 32, 32, 64],
        num_classes=10,
    ),
    "nest": _entry(
        "nest",
        "NesT",
        image_size=32,
        patch_size=4,
        num_classes=10,
        dim=16,
        heads=2,
        num_hierarchies=2,
        block_repeats=(2, 4),
    ),
    "normalized-vit": _entry("normalized_vit", "nViT", **_WIDE, dim_head=8),
    "parallel-vit": _entry("parallel_vit", **_DROPPING),
    "pit": _entry(
        "pit",
        "PiT",
        image_size=32,
        patch_size=4,
        num_classes=10,
        dim=32,
        depth=(2, 4),
        heads=2,
        mlp_dim=64,
    ),
    "region-vit": _entry(
        "regionvit",
        "RegionViT",
        image(64),
        dim=(16, 32, 48, 64),
        depth=(2, 2, 4, 2),
        window_size=4,
        num_classes=10,
        tokenize_local_3_conv=False,
    ),
    "rvt": _entry("rvt", "RvT", **_WIDE),
    "scalable-vit": _entry(
        "scalable_vit",
        "ScalableViT",
        image(64),
        num_classes=10,
        dim=16,
        heads=(2, 2, 4, 4),
        depth=(2, 2, 4, 2),
        ssa_dim_key=(8, 8, 8, 8),
        reduction_factor=(4, 2, 1, 1),
        window_size=(8, 8, None, None),
    ),
    "sep-vit": _entry(
        "sep_vit",
        "SepViT",
        image(56),
        num_classes=10,
        dim=16,
        dim_head=8,
        heads=(1, 2),
        depth=(2, 4),
        window_size=7,
    ),
    "simple-vit": _entry("simple_vit", "SimpleViT", **_WIDE),
    "simple-vit-1d": _entry(
        "simple_vit_1d",
        "SimpleViT",
        _SERIES,
        seq_len=32,
        patch_size=4,
        num_classes=10,
        dim=32,
        depth=4,
        heads=4,
        mlp_dim=64,
    ),
    "simple-vit-3d": _entry(
        "simple_vit_3d",
        "SimpleViT",
        _VIDEOS,
        **{key: value for key, value in _VIDEO.items() if key not in ("image_size", "patch_size")},
        image_size=32,
        image_patch_size=8,
    ),
    "simple-vit-fft": _entry("simple_vit_with_fft", "SimpleViT", **_WIDE, freq_patch_size=8),
    "simple-vit-hyper-connections": _entry(
        "simple_vit_with_hyper_connections", "SimpleViT", **_WIDE, num_residual_streams=2
    ),
    "simple-vit-qk-norm": _entry("simple_vit_with_qk_norm", "SimpleViT", **_WIDE),
    "simple-vit-registers": _entry(
        "simple_vit_with_register_tokens", "SimpleViT", **_WIDE, num_register_tokens=2
    ),
    "simple-vit-value-residual": _entry("simple_vit_with_value_residual", "SimpleViT", **_WIDE),
    "simple-u-vit": _entry("simple_uvit", "SimpleUViT", **_WIDE),
    "t2t": _entry(
        "t2t",
        "T2TViT",
        dim=32,
        image_size=32,
        depth=4,
        heads=4,
        mlp_dim=64,
        num_classes=10,
        t2t_layers=((7, 4), (3, 2)),
    ),
    "twins-svt": _entry(
        "twins_svt",
        "TwinsSVT",
        image(64),
        num_classes=10,
        s1_emb_dim=16,
        s1_patch_size=4,
        s1_local_patch_size=4,
        s1_global_k=4,
        s1_depth=2,
        s2_emb_dim=32,
        s2_patch_size=2,
        s2_local_patch_size=4,
        s2_global_k=4,
        s2_depth=2,
        s3_emb_dim=48,
        s3_patch_size=2,
        s3_local_patch_size=2,
        s3_global_k=2,
        s3_depth=4,
        s4_emb_dim=64,
        s4_patch_size=2,
        s4_local_patch_size=2,
        s4_global_k=2,
        s4_depth=2,
        peg_kernel_size=3,
    ),
    "vit": _entry("vit", **_DROPPING),
    "vit-1d": _entry(
        "vit_1d",
        "ViT",
        _SERIES,
        seq_len=32,
        patch_size=4,
        num_classes=10,
        dim=32,
        depth=4,
        heads=4,
        mlp_dim=64,
    ),
    "vit-for-small-dataset": _entry("vit_for_small_dataset", **_DROPPING),
    "vit-patch-dropout": _entry("vit_with_patch_dropout", **_WIDE, patch_dropout=0.25),
    "vit-patch-merger": _entry(
        "vit_with_patch_merger", **_WIDE, patch_merge_layer=2, patch_merge_num_tokens=4
    ),
    "vivit": _entry(
        "vivit",
        "ViViT",
        _VIDEOS,
        image_size=32,
        image_patch_size=8,
        frames=4,
        frame_patch_size=2,
        num_classes=10,
        dim=32,
        spatial_depth=4,
        temporal_depth=4,
        heads=4,
        mlp_dim=64,
    ),
    "xcit": _entry("xcit", "XCiT", **_DROPPING, cls_depth=4, layer_dropout=0.05),
}

VIT_PYTORCH = Catalogue("vit_pytorch", "vit_pytorch", "vit-pytorch", _NETWORKS)
