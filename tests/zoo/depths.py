"""Published depths of networks of every timm family, read off timm's sources (1.0.31).

The numbers stand in the definitions there (``depths=``, ``layers=``, ``num_blocks=``, repeats in
architecture strings), and what a block is in its ``forward``; our detector has no part in them.

A depth counts the blocks of one published stage, stages in the order of execution. It counts
blocks that lead into the stage (with a stride or a new width) where the definition counts them;
patch merging and other separate downsampling is no block. Stems are left out unless the
definition gives them a depth.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

Depth = int | tuple[int, ...]


@dataclass(frozen=True)
class Published:
    """What the source of one network says.

    Attributes:
        name: its name in timm.
        depths: blocks of each stage; a tuple holds the blocks of parallel branches of one stage.
            One number alone: an isotropic network.
        plain: stages (from 0) with no identity shortcut around any of their last ``n // 2``
            blocks.
        refused: why no stage can be cut, as a reader of the source sees it; empty if one can.
        note: where the number stands and what a block is, if that is not plain.
    """

    name: str
    depths: tuple[Depth, ...]
    plain: tuple[int, ...] = ()
    refused: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def isotropic(self) -> bool:
        """Whether there is one row of blocks, which the library cuts into groups."""
        return len(self.depths) == 1

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks (of all branches) of each stage that can be cut."""
        sums = [sum(depth) if isinstance(depth, tuple) else depth for depth in self.depths]
        return tuple(n for i, n in enumerate(sums) if n > 1 and i not in self.plain)


def _deeper(repeats: tuple[int, ...], factor: float, ends: bool = True) -> tuple[int, ...]:
    """EfficientNet's depth multiplier: rounds up; ``ends=False`` leaves first and last alone."""
    scaled = [math.ceil(n * factor) for n in repeats]
    if not ends:
        scaled[0], scaled[-1] = repeats[0], repeats[-1]
    return tuple(scaled)


def _nearest(repeats: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """The depth multiplier of TinyNet and MixNet: rounds to the nearest, at least 1."""
    return tuple(max(1, round(n * factor)) for n in repeats)


def _regnet(w0: float, wa: float, wm: float, depth: int) -> tuple[int, ...]:
    """RegNet's design space (Radosavovic et al., 2020, section 3.3): blocks of each width."""
    exponents = [round(math.log((w0 + wa * j) / w0, wm)) for j in range(depth)]
    return tuple(Counter(round(w0 * wm**e / 8) * 8 for e in exponents).values())


P = Published
B0 = (1, 2, 2, 3, 3, 4, 1)  # efficientnet.py _gen_efficientnet
MBV2 = (1, 2, 3, 4, 3, 3, 1)  # efficientnet.py _gen_mobilenet_v2
GHOST = (1, 2, 2, 6, 5)  # ghostnet.py _create_ghostnet: "stage1" to "stage5" in cfgs

ONE_EACH = "every stage has one block, which always runs"
CONCATENATES = "every block ends in a concatenation; nothing is added"
NORMED = "every identity path runs through a batch norm of its own before the add"
CELLS = "every cell ends in a concatenation of the sums in it; no two cells make a chain"
HALF = "the shortcut spans only the last part of a block; the first part always runs"
WIDENS = "stage 4 widens at its fifth block; one row for each width would be 4 and 2"
MERGED = "no layer stands between some stages, and their shapes are equal"
BEFORE = "a block without shortcut leads into the stages, which the definition does not count"
CLASS_TOKEN = "two class-attention blocks follow, which update the class token alone"

TABLE: dict[str, tuple[Published, ...]] = {
    # depth= in the entry points.
    "beit": (
        P("beit_base_patch16_224", (12,)),
        P("beit_large_patch16_224", (24,)),
        P("beitv2_base_patch16_224", (12,)),
    ),
    # d= in model_cfgs; interleave_blocks(d=) mixes two kinds of block. The first block counts;
    # its shortcut is a projection, or absent in haloregnetz_b.
    "byoanet": (
        P("botnet26t_256", (2, 2, 2, 2)),
        P("sebotnet33ts_256", (2, 3, 3, 2)),
        P("halonet_h1", (3, 3, 10, 3)),
        P("haloregnetz_b", (2, 6, 12, 2)),
        P("lambda_resnet50ts", (3, 4, 6, 3)),
    ),
    # d= in model_cfgs; the first block counts.
    "byobnet": (
        P("gernet_l", (1, 2, 6, 5, 4), note=MERGED + " (640 channels, stride 1)"),
        P("gernet_m", (1, 2, 6, 4, 1), note=MERGED + " (640 channels, stride 1)"),
        P("gernet_s", (1, 3, 7, 2, 1)),
        P("repvgg_a0", (2, 4, 14, 1), refused=NORMED),
        P("repvgg_d2se", (8, 14, 24, 1), refused=NORMED),
        P("mobileone_s1", (4, 16, 20, 2), refused=NORMED, note="two layers for each of d"),
        P("resnet51q", (2, 4, 6, 4)),
        P("resnet61q", (1, 4, 6, 4)),
        P("resnext26ts", (2, 2, 2, 2)),
        P("resnet33ts", (2, 3, 3, 2)),
        P("regnetz_b16", (2, 6, 12, 2)),
        P("regnetz_e8", (3, 8, 16, 3)),
        P("resnet50x16_clip", (6, 8, 18, 8)),
        P("test_byobnet", (1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depth= in the entry points; depth_token_only=2 beside it.
    "cait": (
        P("cait_xxs24_224", (24,), note=CLASS_TOKEN),
        P("cait_m48_448", (48,), note=CLASS_TOKEN),
    ),
    # serial_depths, then parallel_depth. One ParallelBlock acts on three streams at once (x2, x3,
    # x4), each with a shortcut of its own. All blocks of a stage share one position encoding.
    "coat": (
        P("coat_tiny", (2, 2, 2, 2, 6), note="the last 6 are parallel blocks"),
        P("coat_small", (2, 2, 2, 2, 6), note="the last 6 are parallel blocks"),
        P("coat_lite_small", (3, 4, 6, 3)),
        P("coat_lite_medium", (3, 6, 10, 8)),
    ),
    # ConVit's default depth=12; local_up_to_layer=10 blocks, then the class token joins.
    "convit": (
        P("convit_tiny", (12,), note="the class token joins before block 10"),
        P("convit_base", (12,), note="the class token joins before block 10"),
    ),
    # depth= in the entry points. A block is a residual depthwise and a plain pointwise layer.
    "convmixer": (
        P("convmixer_768_32", (32,), note="the pointwise half of a block has no shortcut"),
        P("convmixer_1536_20", (20,), note="the pointwise half of a block has no shortcut"),
    ),
    # depths= in the entry points; downsampling stands before the blocks.
    "convnext": (
        P("convnext_atto", (2, 2, 6, 2)),
        P("convnext_nano", (2, 2, 8, 2)),
        P("convnext_tiny", (3, 3, 9, 3)),
        P("convnext_zepto_rms_ols", (2, 2, 4, 2)),
        P("convnext_xxlarge", (3, 4, 30, 3)),
        P("convnextv2_base", (3, 3, 27, 3)),
        P("test_convnext", (1, 2, 4, 2)),
        P("test_convnext2", (1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depth_list=, stem first (0 of them left out). In stages 1 and 2 the strided block counts;
    # in stages 3 and 4 it stands before the counted CPUBoneBlocks.
    "cpubone": (
        P("cpubone_nano", (1, 1, 1, 2), note=BEFORE),
        P("cpubone_b0_bfrobust", (1, 1, 3, 4), note=BEFORE),
        P("cpubone_b3", (1, 2, 3, 6, 6), note=BEFORE),
    ),
    # depth=[[a, b, 0]] * 3: each MultiScaleBlock holds a blocks on the branch of small patches, b
    # on that of large ones, and then one cross-attention for each class token (no chain).
    "crossvit": (
        P("crossvit_tiny_240", ((1, 4), (1, 4), (1, 4))),
        P("crossvit_9_dagger_240", ((1, 3), (1, 3), (1, 3))),
        P("crossvit_18_240", ((1, 6), (1, 6), (1, 6))),
    ),
    # depths= of CSATv2; the last transformer_depths of them are transformer blocks.
    "csatv2": (
        P("csatv2", (2, 2, 8, 6)),
        P("csatv2_21m", (3, 3, 10, 8)),
    ),
    # depth= in model_cfgs (cs3: int(d * depth_multiplier) of (3, 6, 9, 3)). The blocks sit on one
    # of two branches, which a concatenation joins; the strided convolution is apart.
    "cspnet": (
        P("cspresnet50", (3, 3, 5, 2)),
        P("cspresnext50", (3, 3, 5, 2)),
        P("cspdarknet53", (1, 2, 8, 8, 4)),
        P("darknet53", (1, 2, 8, 8, 4), note="no second branch"),
        P("darknet21", (1, 1, 1, 2, 2), note="no second branch"),
        P("darknet17", (1, 1, 1, 1, 1), refused=ONE_EACH),
        P("cs3darknet_s", (1, 3, 4, 1)),
        P("cs3darknet_focus_m", (2, 4, 6, 2)),
        P("cs3darknet_l", (3, 6, 9, 3)),
        P("cs3edgenet_x", (3, 7, 11, 3)),
        P("cs3sedarknet_xdw", (3, 6, 12, 4)),
    ),
    # round((3, 6, 6, 3) * deepen_factor), at least 1; the last stage has add_identity=False. The
    # blocks sit on one of two branches, which a concatenation joins.
    "cspnext": (
        P("cspnext_tiny", (1, 1, 1, 1), refused=ONE_EACH),
        P("cspnext_s", (1, 2, 2, 1)),
        P("cspnext_m", (2, 4, 4, 2), plain=(3,)),
        P("cspnext_x", (4, 8, 8, 4), plain=(3,)),
    ),
    # depths=; one block is a spatial and a channel block, in a Sequential.
    "davit": (
        P("davit_tiny", (1, 1, 3, 1)),
        P("davit_base_fl", (1, 1, 9, 1)),
        P("davit_giant", (1, 1, 12, 3)),
    ),
    # The default depth=32 of DeepseekVitEncoder.
    "deepseek_vit": (
        P("deepseek_vit_412m", (32,)),
        P("deepseek_vit_412m_enc", (32,)),
    ),
    # depth= in the entry points.
    "deit": (
        P("deit_tiny_patch16_224", (12,)),
        P("deit_tiny_distilled_patch16_224", (12,)),
        P("deit3_large_patch16_224", (24,)),
        P("deit3_huge_patch14_224", (32,)),
    ),
    # block_config=; DenseLayer reads a concatenation of all earlier outputs.
    "densenet": (
        P("densenet121", (6, 12, 24, 16), refused=CONCATENATES),
        P("densenetblur121d", (6, 12, 24, 16), refused=CONCATENATES),
        P("densenet264d", (6, 12, 64, 48), refused=CONCATENATES),
    ),
    # levels=: a DlaTree of l levels holds 2**l blocks, given here for level2 to level5 (level0
    # and level1 are convolutions). Each pair of blocks ends in a DlaRoot, which is a convolution
    # of their concatenation; only the first block of a level has a projection shortcut.
    "dla": (
        P("dla34", (2, 4, 4, 2)),
        P("dla46_c", (2, 4, 4, 2)),
        P("dla60", (2, 4, 8, 2)),
        P("dla60_res2net", (2, 4, 8, 2)),
        P("dla102", (2, 8, 16, 2), note="with shortcut_root, roots add the second block's output"),
        P("dla169", (4, 8, 32, 2), note="with shortcut_root, roots add the second block's output"),
    ),
    # k_sec=; DualPathBlock adds to a slice of the channels and appends others.
    "dpn": tuple(
        P(name, depths, refused="every block appends channels: no two have one shape")
        for name, depths in [
            ("dpn48b", (3, 4, 6, 3)),
            ("dpn68", (3, 4, 12, 3)),
            ("dpn107", (4, 8, 20, 3)),
        ]
    ),
    # depths=; with downsample_block=True (small_rw) the first block of a stage is strided and has
    # its shortcut after the strided convolution.
    "edgenext": (
        P("edgenext_xx_small", (2, 2, 6, 2)),
        P("edgenext_base", (3, 3, 9, 3)),
        P("edgenext_small_rw", (3, 3, 9, 3)),
    ),
    # EfficientFormer_depth; in the last stage num_vit of the blocks are 1d, after a Flat().
    "efficientformer": (
        P("efficientformer_l1", (3, 2, 6, 4), note="flattened before the last block"),
        P("efficientformer_l3", (4, 4, 12, 6), note="flattened before the last four blocks"),
        P("efficientformer_l7", (6, 6, 18, 8), note="the whole last stage is flattened"),
    ),
    # EfficientFormer_depth; downsampling is apart.
    "efficientformer_v2": (
        P("efficientformerv2_s0", (2, 2, 6, 4)),
        P("efficientformerv2_s2", (4, 4, 12, 8)),
        P("efficientformerv2_l", (5, 5, 15, 10)),
    ),
    # arch_def in _gen_*: one list is one stage, _r<n>_ its repeats; depth multipliers in the entry
    # points. The first block counts; with a stride or a new width it has no shortcut.
    "efficientnet": (
        P("efficientnet_b0", B0),
        P("efficientnet_b1", _deeper(B0, 1.1)),
        P("efficientnet_b4", _deeper(B0, 1.8)),
        P("efficientnet_b7", _deeper(B0, 3.1)),
        P("efficientnet_b0_g16_evos", B0),
        P("efficientnet_b3_pruned", _deeper(B0, 1.4)),
        P("efficientnet_cc_b1_8e", _deeper(B0, 1.1)),
        P("efficientnet_lite4", _deeper(B0, 1.8, ends=False)),
        P("efficientnet_x_b3", _deeper(B0, 1.4)),
        P("efficientnet_es", (1, 2, 4, 5, 4, 2)),
        P("efficientnet_el", _deeper((1, 2, 4, 5, 4, 2), 1.4), plain=(0,), note="0 is noskip"),
        P("tf_efficientnetv2_b1", _deeper((1, 2, 2, 3, 5, 8), 1.1)),
        P("tf_efficientnetv2_b3", _deeper((1, 2, 2, 3, 5, 8), 1.4)),
        P("efficientnetv2_rw_t", _deeper((2, 4, 4, 6, 9, 15), 0.9)),
        P("efficientnetv2_rw_m", (3, 5, 5, 8, 15, 24), note="multiplied by 1.2, the last two 1.6"),
        P("efficientnetv2_s", (2, 4, 4, 6, 9, 15)),
        P("efficientnetv2_m", (3, 5, 5, 7, 14, 18, 5)),
        P("efficientnetv2_xl", (4, 8, 8, 16, 24, 32, 8)),
        P("fbnetc_100", (1, 3, 4, 4, 4, 4, 1)),
        P("mixnet_s", (1, 2, 4, 3, 3, 3)),
        P("mixnet_xl", _nearest((1, 2, 4, 4, 4, 4), 1.2)),
        P("mnasnet_100", (1, 3, 3, 3, 2, 4, 1)),
        P("mnasnet_small", (1, 1, 2, 4, 3, 3, 1), note=MERGED + " (32 channels)"),
        P("semnasnet_100", (1, 2, 3, 4, 2, 3, 1)),
        P("mobilenet_edgetpu_100", (1, 4, 4, 4, 4, 4, 1)),
        P("mobilenet_edgetpu_v2_m", (1, 2, 4, 4, 4, 4, 1)),
        P("mobilenetv1_100", (1, 2, 2, 6, 2), refused="no block has a shortcut (dsa is noskip)"),
        P("mobilenetv2_100", MBV2),
        P("mobilenetv2_120d", _deeper(MBV2, 1.4, ends=False)),
        P("spnasnet_100", (1, 3, 4, 4, 4, 4, 1)),
        P("tinynet_a", _nearest(B0, 1.2)),
        P("tinynet_e", _nearest(B0, 0.6)),
        P("test_efficientnet", (1, 1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depths=. A block is four shortcuts, x + alpha * (f(x) - x); the mixer also gives a hidden
    # state, and that of a stage's last block goes to the head.
    "efficientvim": (
        P("efficientvim_m1", (2, 2, 2), note="the mixers of the last blocks feed the head"),
        P("efficientvim_m4", (3, 4, 2), note="the mixers of the last blocks feed the head"),
        P("efficientvim_m4_dist", (3, 4, 2), note="the mixers of the last blocks feed the heads"),
    ),
    # depths=, stem first. In b0 to b3 the strided block counts in stages 1 and 2; else it stands
    # before the counted blocks.
    "efficientvit_mit": (
        P("efficientvit_b0", (1, 2, 2, 2, 2), note=BEFORE),
        P("efficientvit_b3", (1, 4, 6, 6, 9), note=BEFORE),
        P("efficientvit_l1", (1, 1, 1, 6, 6), note=BEFORE),
        P("efficientvit_l2", (1, 2, 2, 8, 8), note=BEFORE),
    ),
    # depth=; a block is five residual layers. The downsampling between stages holds residual
    # layers too, which are no blocks.
    "efficientvit_msra": (
        P("efficientvit_m0", (1, 2, 3)),
        P("efficientvit_m5", (1, 3, 4)),
    ),
}
