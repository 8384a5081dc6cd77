"""Networks of images and videos: backbones, detectors, segmenters."""

from __future__ import annotations

from typing import Any

from ..examples import named, noise
from .entry import SIZES, network, pixels

_VIT: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
_SWIN: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [2, 2, 4],
    "num_heads": [2, 2, 4],
    "window_size": 4,
}
_RESNET: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [2, 2, 2, 2],
}
_RESNET_BACKBONE: dict[str, Any] = {
    "model_type": "resnet",
    "layer_type": "basic",
    **_RESNET,
    "out_features": ["stage2", "stage3", "stage4"],
}
_SWIN_BACKBONE: dict[str, Any] = {
    "model_type": "swin",
    **_SWIN,
    "depths": [2, 2, 2, 2],
    "num_heads": [2, 2, 4, 4],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_VIDEO: dict[str, Any] = {**SIZES, "image_size": 16, "num_frames": 4}
_VIDEOS = named(pixel_values=lambda: noise(2, 4, 3, 16, 16))
_DETR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone_config": {**_RESNET_BACKBONE, "out_features": ["stage4"]},
}

BACKBONES = {
    "beit": network("BeitModel", pixels(), **_VIT, use_relative_position_bias=True),
    "beit-shared-bias": network(
        "BeitForImageClassification", pixels(), **_VIT, use_shared_relative_position_bias=True
    ),
    "bit": network(
        "BitModel",
        pixels(),
        embedding_size=16,
        hidden_sizes=[32, 32, 64, 64],
        depths=[2, 2, 2, 2],
        num_groups=8,
    ),
    "convnext": network(
        "ConvNextForImageClassification",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
    ),
    "convnextv2": network(
        "ConvNextV2ForImageClassification",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
    ),
    "cvt": network(
        "CvtModel", pixels(), embed_dim=[16, 32, 48], num_heads=[1, 2, 4], depth=[2, 2, 4]
    ),
    "data2vec-vision": network(
        "Data2VecVisionModel", pixels(), **_VIT, use_relative_position_bias=True
    ),
    "deit": network("DeiTModel", pixels(), **_VIT),
    "deit-teacher": network("DeiTForImageClassificationWithTeacher", pixels(), **_VIT),
    "dinov2": network("Dinov2Model", pixels(), **_VIT, mlp_ratio=2),
    "dinov2-registers": network(
        "Dinov2WithRegistersModel", pixels(), **_VIT, mlp_ratio=2, num_register_tokens=2
    ),
    "dinov3-convnext": network(
        "DINOv3ConvNextModel", pixels(), hidden_sizes=[16, 32, 48, 64], depths=[2, 2, 4, 2]
    ),
    "dinov3-vit": network("DINOv3ViTModel", pixels(), **_VIT),
    "efficientnet": network("EfficientNetModel", pixels(), width_coefficient=0.5, hidden_dim=640),
    "focalnet": network(
        "FocalNetModel",
        pixels(),
        image_size=32,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2, 4],
        focal_levels=[2, 2, 2],
        focal_windows=[3, 3, 3],
    ),
    "hiera": network(
        "HieraModel",
        pixels(),
        image_size=[32, 32],
        embed_dim=16,
        depths=[2, 2, 4, 2],
        num_heads=[1, 2, 4, 8],
        masked_unit_size=[8, 8],
        patch_stride=[2, 2],
        patch_size=[3, 3],
        patch_padding=[1, 1],
    ),
    "ijepa": network("IJepaModel", pixels(), **_VIT),
    "levit": network(
        "LevitModel",
        pixels(64),
        image_size=64,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[3, 3, 3],
        key_dim=[8, 8, 8],
        down_ops=[["Subsample", 8, 4, 4, 2, 2], ["Subsample", 8, 6, 4, 2, 2]],
    ),
    "mobilenet-v1": network("MobileNetV1Model", pixels(), depth_multiplier=0.25),
    "mobilenet-v2": network("MobileNetV2Model", pixels(), depth_multiplier=0.35),
    "mobilevit": network(
        "MobileViTModel",
        pixels(64),
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 16, 16, 24, 32, 32, 64],
        num_attention_heads=4,
    ),
    "mobilevitv2": network("MobileViTV2Model", pixels(64), image_size=64, width_multiplier=0.25),
    "poolformer": network(
        "PoolFormerModel",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_encoder_blocks=4,
    ),
    "pvt": network(
        "PvtModel",
        pixels(),
        image_size=32,
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        sequence_reduction_ratios=[2, 2, 1, 1],
    ),
    "pvt-v2": network(
        "PvtV2Model",
        pixels(),
        image_size=32,
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        sr_ratios=[2, 2, 1, 1],
    ),
    "regnet": network("RegNetModel", pixels(), **_RESNET, groups_width=8),
    "resnet": network("ResNetModel", pixels(), **_RESNET),
    "resnet-basic": network(
        "ResNetForImageClassification", pixels(), **_RESNET, layer_type="basic"
    ),
    "sam-vision": network(
        "SamVisionModel",
        pixels(),
        hidden_size=32,
        output_channels=16,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=32,
        patch_size=4,
        window_size=3,
        global_attn_indexes=[1, 3],
    ),
    "segformer": network(
        "SegformerModel",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        sr_ratios=[2, 2, 1, 1],
    ),
    "swiftformer": network(
        "SwiftFormerModel", pixels(), embed_dims=[16, 32, 48, 64], depths=[2, 2, 4, 2]
    ),
    "swin": network("SwinModel", pixels(), **_SWIN),
    "swinv2": network("Swinv2Model", pixels(), **_SWIN),
    "timesformer": network("TimesformerModel", _VIDEOS, **_VIDEO, patch_size=4),
    "videomae": network("VideoMAEModel", _VIDEOS, **_VIDEO, patch_size=4, tubelet_size=2),
    "vit": network("ViTModel", pixels(), **_VIT),
    "vit-classifier": network("ViTForImageClassification", pixels(), **_VIT),
    "vit-mae": network(
        "ViTMAEForPreTraining",
        pixels(),
        **_VIT,
        decoder_num_attention_heads=4,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=4,
        decoder_intermediate_size=64,
    ),
    "vit-msn": network("ViTMSNModel", pixels(), **_VIT),
    "vivit": network("VivitModel", _VIDEOS, **_VIDEO, tubelet_size=[2, 4, 4]),
}

TASKS = {
    "conditional-detr": network("ConditionalDetrForObjectDetection", pixels(64), **_DETR),
    "deformable-detr": network(
        "DeformableDetrForObjectDetection",
        pixels(64),
        **{**_DETR, "backbone_config": _RESNET_BACKBONE},
        num_feature_levels=3,
    ),
    "depth-anything": network(
        "DepthAnythingForDepthEstimation",
        pixels(),
        backbone_config={
            "model_type": "dinov2",
            **_VIT,
            "mlp_ratio": 2,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "reshape_hidden_states": False,
        },
        patch_size=8,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
    ),
    "detr": network("DetrForObjectDetection", pixels(64), **_DETR),
    "dpt": network(
        "DPTForDepthEstimation",
        pixels(),
        **_VIT,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
    ),
    "glpn": network(
        "GLPNForDepthEstimation",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        sr_ratios=[2, 2, 1, 1],
        decoder_hidden_size=16,
    ),
    "mask2former": network(
        "Mask2FormerForUniversalSegmentation",
        pixels(64),
        backbone_config=_SWIN_BACKBONE,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=4,
        decoder_layers=5,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=5,
    ),
    "maskformer": network(
        "MaskFormerForInstanceSegmentation",
        pixels(64),
        backbone_config={**_SWIN_BACKBONE, "model_type": "maskformer-swin"},
        decoder_config={**_DETR, "model_type": "detr", "backbone_config": None},
        fpn_feature_size=32,
        mask_feature_size=32,
    ),
    "rt-detr": network(
        "RTDetrForObjectDetection",
        pixels(64),
        backbone_config={
            "model_type": "rt_detr_resnet",
            **_RESNET,
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        encoder_hidden_dim=32,
        encoder_in_channels=[32, 48, 64],
        encoder_layers=4,
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        d_model=32,
        num_queries=10,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64,
        decoder_layers=4,
        decoder_attention_heads=4,
        num_denoising=0,
    ),
    "segformer-segmenter": network(
        "SegformerForSemanticSegmentation",
        pixels(),
        hidden_sizes=[16, 32, 48, 64],
        depths=[2, 2, 4, 2],
        num_attention_heads=[1, 2, 4, 8],
        mlp_ratios=[2, 2, 2, 2],
        sr_ratios=[2, 2, 1, 1],
        decoder_hidden_size=32,
    ),
    "swin2sr": network(
        "Swin2SRForImageSuperResolution",
        pixels(16),
        image_size=16,
        embed_dim=16,
        depths=[4, 4],
        num_heads=[2, 2],
        window_size=4,
        mlp_ratio=2.0,
    ),
    "upernet": network(
        "UperNetForSemanticSegmentation",
        pixels(64),
        backbone_config={
            "model_type": "convnext",
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [2, 2, 4, 2],
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        hidden_size=32,
        pool_scales=[1, 2],
        auxiliary_in_channels=48,
        auxiliary_channels=16,
    ),
    "vitmatte": network(
        "VitMatteForImageMatting",
        pixels(32, 4),
        backbone_config={
            "model_type": "vitdet",
            "image_size": 32,
            "pretrain_image_size": 32,
            "patch_size": 16,
            "num_channels": 4,
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "window_block_indices": [0, 2],
            "window_size": 2,
            "residual_block_indices": [1],
            "out_features": ["stage4"],
        },
        hidden_size=32,
        fusion_hidden_sizes=[32, 16, 8, 4],
        convstream_hidden_sizes=[8, 8, 8],
    ),
    "yolos": network(
        "YolosForObjectDetection",
        pixels(),
        **{**_VIT, "image_size": [32, 32]},
        num_detection_tokens=5,
    ),
}

NETWORKS = {**BACKBONES, **TASKS}
