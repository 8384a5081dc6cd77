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
GHOST = (1, 1, 1, 1, 1, 1, 5, 1, 4)  # ghostnet.py _create_ghostnet: the lists of cfgs

ONE_EACH = "every stage has one block, which always runs"
CONCATENATES = "every block ends in a concatenation; nothing is added"
NORMED = "every identity path runs through a batch norm of its own before the add"
CELLS = "every cell ends in a concatenation of the sums in it; no two cells make a chain"
HALF = "the shortcut spans only the last part of a block; the first part always runs"
WIDENS = "the list of five widens at its fourth block"
MERGED = "no layer stands between some stages, and their shapes are equal"
BEFORE = "a block without shortcut leads into the stages, which the definition does not count"
LEADING = "a strided block of the same class leads the list, which depths= does not count"
CLASS_TOKEN = "two class-attention blocks follow, which update the class token alone"

TABLE: dict[str, tuple[Published, ...]] = {
    # depth= in the entry points.
    "beit": (
        P("beit_base_patch16_224", (12,)),
        P("beit_large_patch16_224", (24,)),
    ),
    # d= in model_cfgs; interleave_blocks(d=) mixes two kinds of block. The first block counts;
    # its shortcut is a projection, or absent in haloregnetz_b.
    "byoanet": (
        P("botnet26t_256", (2, 2, 2, 2)),
        P("sebotnet33ts_256", (2, 3, 3, 2)),
        P("halonet_h1", (3, 3, 10, 3)),
        P("haloregnetz_b", (2, 6, 12, 2)),
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
        P("coat_lite_small", (3, 4, 6, 3)),
        P("coat_lite_medium", (3, 6, 10, 8)),
    ),
    # ConVit's default depth=12; local_up_to_layer=10 blocks, then the class token joins.
    "convit": (P("convit_tiny", (12,), note="the class token joins before block 10"),),
    # depth= in the entry points. A block is a residual depthwise and a plain pointwise layer.
    "convmixer": (
        P("convmixer_768_32", (32,), note="the pointwise half of a block has no shortcut"),
    ),
    # depths= in the entry points; downsampling stands before the blocks.
    "convnext": (
        P("convnext_atto", (2, 2, 6, 2)),
        P("convnext_tiny", (3, 3, 9, 3)),
        P("convnext_xxlarge", (3, 4, 30, 3)),
        P("convnextv2_base", (3, 3, 27, 3)),
        P("test_convnext", (1, 2, 4, 2)),
        P("test_convnext2", (1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depth_list=, stem first (0 of them left out). In stages 1 and 2 the strided block counts;
    # in stages 3 and 4 it stands before the counted CPUBoneBlocks.
    "cpubone": (
        P("cpubone_nano", (1, 1, 1, 2), note=BEFORE),
        P("cpubone_b3", (1, 2, 3, 6, 6), note=BEFORE),
    ),
    # depth=[[a, b, 0]] * 3: each MultiScaleBlock holds a blocks on the branch of small patches, b
    # on that of large ones, and then one cross-attention for each class token (no chain).
    "crossvit": (
        P("crossvit_tiny_240", ((1, 4), (1, 4), (1, 4))),
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
        P("cspdarknet53", (1, 2, 8, 8, 4)),
        P("darknet53", (1, 2, 8, 8, 4), note="no second branch"),
        P("darknet21", (1, 1, 1, 2, 2), note="no second branch"),
        P("darknet17", (1, 1, 1, 1, 1), refused=ONE_EACH),
        P("cs3darknet_s", (1, 3, 4, 1)),
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
        P("deit3_huge_patch14_224", (32,)),
    ),
    # block_config=; DenseLayer reads a concatenation of all earlier outputs.
    "densenet": (
        P("densenet121", (6, 12, 24, 16), refused=CONCATENATES),
        P("densenet264d", (6, 12, 64, 48), refused=CONCATENATES),
    ),
    # levels=: a DlaTree of l levels holds 2**l blocks, given here for level2 to level5 (level0
    # and level1 are convolutions). Each pair of blocks ends in a DlaRoot, which is a convolution
    # of their concatenation; only the first block of a level has a projection shortcut.
    "dla": (
        P("dla34", (2, 4, 4, 2)),
        P("dla60", (2, 4, 8, 2)),
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
        P("efficientformerv2_l", (5, 5, 15, 10)),
    ),
    # arch_def in _gen_*: one list is one stage, _r<n>_ its repeats; depth multipliers in the entry
    # points. The first block counts; with a stride or a new width it has no shortcut.
    "efficientnet": (
        P("efficientnet_b0", B0),
        P("efficientnet_b1", _deeper(B0, 1.1)),
        P("efficientnet_b7", _deeper(B0, 3.1)),
        P("efficientnet_b0_g16_evos", B0),
        P("efficientnet_b3_pruned", _deeper(B0, 1.4)),
        P("efficientnet_lite4", _deeper(B0, 1.8, ends=False)),
        P("efficientnet_x_b3", _deeper(B0, 1.4)),
        P("efficientnet_es", (1, 2, 4, 5, 4, 2)),
        P("efficientnet_el", _deeper((1, 2, 4, 5, 4, 2), 1.4), plain=(0,), note="0 is noskip"),
        P("tf_efficientnetv2_b1", _deeper((1, 2, 2, 3, 5, 8), 1.1)),
        P("efficientnetv2_rw_t", _deeper((2, 4, 4, 6, 9, 15), 0.9)),
        P("efficientnetv2_rw_m", (3, 5, 5, 8, 15, 24), note="multiplied by 1.2, the last two 1.6"),
        P("efficientnetv2_s", (2, 4, 4, 6, 9, 15)),
        P("efficientnetv2_xl", (4, 8, 8, 16, 24, 32, 8)),
        P("fbnetc_100", (1, 3, 4, 4, 4, 4, 1)),
        P("mixnet_xl", _nearest((1, 2, 4, 4, 4, 4), 1.2)),
        P("mnasnet_100", (1, 3, 3, 3, 2, 4, 1)),
        P("mnasnet_small", (1, 1, 2, 4, 3, 3, 1), note=MERGED + " (32 channels)"),
        P("mobilenet_edgetpu_100", (1, 4, 4, 4, 4, 4, 1)),
        P("mobilenetv1_100", (1, 2, 2, 6, 2), refused="no block has a shortcut (dsa is noskip)"),
        P("mobilenetv2_100", MBV2),
        P("mobilenetv2_120d", _deeper(MBV2, 1.4, ends=False)),
        P("spnasnet_100", (1, 3, 4, 4, 4, 4, 1)),
        P("tinynet_e", _nearest(B0, 0.6)),
        P("test_efficientnet", (1, 1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depths=. A block is four shortcuts, x + alpha * (f(x) - x); the mixer also gives a hidden
    # state, and that of a stage's last block goes to the head.
    "efficientvim": (
        P("efficientvim_m1", (2, 2, 2), note="the mixers of the last blocks feed the head"),
        P("efficientvim_m4", (3, 4, 2), note="the mixers of the last blocks feed the head"),
    ),
    # depths=, stem first. In b0 to b3 the strided block counts in stages 1 and 2; else it stands
    # before the counted blocks.
    "efficientvit_mit": (
        P("efficientvit_b0", (1, 2, 2, 2, 2), note=BEFORE),
        P("efficientvit_l1", (1 + 1, 1 + 1, 1 + 6, 6), note=LEADING),
        P("efficientvit_l2", (1 + 2, 1 + 2, 1 + 8, 8), note=LEADING),
    ),
    # depth=; a block is five residual layers. The downsampling between stages holds residual
    # layers too, which are no blocks.
    "efficientvit_msra": (
        P("efficientvit_m0", (1, 2, 3)),
        P("efficientvit_m5", (1, 3, 4)),
    ),
    # depth= in the entry points.
    "eva": (
        P("eva_giant_patch14_224", (40,)),
        P("eva02_enormous_patch14_clip_224", (64,)),
        P("vit_mediumd_patch16_rope_reg1_gap_256", (20,)),
        P("vit_small_patch16_dinov3", (12,)),
        P("vit_pe_lang_large_patch14_448", (23,)),
        P("vit_5b_patch16_sapiens2", (56,)),
    ),
    # depths=; patch merging is apart.
    "fasternet": (
        P("fasternet_t0", (1, 2, 8, 2)),
        P("fasternet_l", (3, 4, 18, 3)),
    ),
    # layers=. A block is a token mixer (as a RepMixer, x + scale * (mixer(x) - norm(x))) and a
    # feed-forward layer; downsampling and position encodings are apart.
    "fastvit": (
        P("fastvit_t8", (2, 2, 4, 2)),
        P("fastvit_sa12", (2, 2, 6, 2)),
        P("fastvit_mci3", (2, 12, 24, 4, 2)),
    ),
    # depths=; downsampling is apart.
    "focalnet": (
        P("focalnet_tiny_srf", (2, 2, 6, 2)),
        P("focalnet_small_lrf", (2, 2, 18, 2)),
    ),
    # depths=. Downsampling and the global query hold residual convolutions, which are no blocks.
    "gcvit": (
        P("gcvit_xtiny", (3, 4, 6, 5)),
        P("gcvit_base", (3, 4, 19, 5)),
    ),
    # _167M_ARCH and _570M_ARCH.
    "gemma4_vit": (
        P("gemma4_vit_167m", (16,)),
        P("gemma4_vit_570m_enc", (27,)),
    ),
    # The lists of cfgs; comments there put two lists into one stage, the first the strided block.
    "ghostnet": (
        P("ghostnet_100", GHOST, note=WIDENS),
        P("ghostnetv2_100", GHOST, note=WIDENS),
        P("ghostnetv3_100", GHOST, note=WIDENS),
    ),
    # arch_def, as in efficientnet; the last list is one convolution.
    "hardcorenas": (
        P("hardcorenas_a", (1, 2, 2, 2, 2, 2, 1)),
        P("hardcorenas_e", (1, 2, 4, 2, 4, 4, 1)),
    ),
    # The fourth number of each stage in model_cfgs; the first block counts and has no shortcut.
    "hgnet": (
        P("hgnet_tiny", (1, 1, 2, 1)),
        P("hgnetv2_b0", (1, 1, 2, 1)),
        P("hgnetv2_b6", (2, 3, 6, 3)),
    ),
    # stages=; blocks stand in one list. The first block of a stage pools or widens, and counts.
    "hiera": (
        P("hiera_tiny_224", (1, 2, 7, 2)),
        P("hiera_large_224", (2, 6, 36, 4)),
        P("hiera_small_abswin_256", (1, 2, 11, 2)),
    ),
    # stages=, as in hiera; sam2_hiera_base_plus has the default.
    "hieradet_sam2": (
        P("sam2_hiera_tiny", (1, 2, 7, 2)),
        P("sam2_hiera_base_plus", (2, 3, 16, 3)),
    ),
    # cfg_cls: num_blocks of layer1, then of each of num_modules modules of stage2 to stage4. A
    # module is a row of blocks on each branch; its fuse layers sum over the branches.
    "hrnet": (
        P("hrnet_w18_small", (1, (2,) * 2, (2,) * 3, (2,) * 4)),
        P("hrnet_w18_small_v2", (2, (2,) * 2, *[(2,) * 3] * 3, *[(2,) * 4] * 2)),
        P("hrnet_w18", (4, (4,) * 2, *[(4,) * 3] * 4, *[(4,) * 4] * 3)),
    ),
    # depths=, which counts each residual layer: convolutions, and for each of attn_groups a
    # position encoding, an attention and a feed-forward layer.
    "iformer": (
        P("iformer_t", (2, 2, 16, 6)),
        P("iformer_m_distilled", (2, 2, 22, 6)),
        P("iformer_h", (5, 5, 60, 18)),
    ),
    # depths=; downsampling is apart.
    "inception_next": (
        P("inception_next_atto", (2, 2, 6, 2)),
        P("inception_next_base", (3, 3, 27, 3)),
    ),
    # repeat, repeat_1, and repeat_2 with block8 after it; mixed_6a and mixed_7a lead into stages.
    "inception_resnet_v2": (P("inception_resnet_v2", (10, 20, 10), note="9 in repeat_2, block8"),),
    # Mixed_5, Mixed_6 and Mixed_7.
    "inception_v3": (P("inception_v3", (3, 5, 3), refused=CONCATENATES),),
    # InceptionA, B and C, each after its reduction.
    "inception_v4": (P("inception_v4", (4, 7, 3), refused=CONCATENATES),),
    # depths=; _STAGE_CFG gives use_shortcut to the last stage only. The strided block counts.
    "lcnetv2": (
        P("lcnetv2_small", (2, 2, 4, 2), plain=(0, 1, 2)),
        P("lcnetv2_large", (2, 2, 8, 2), plain=(0, 1, 2)),
    ),
    # depth= in model_cfgs. Downsampling holds a residual feed-forward layer, which is no block.
    "levit": (
        P("levit_128s", (2, 3, 4)),
        P("levit_256d", (4, 8, 6)),
        P("levit_conv_128s", (2, 3, 4)),
    ),
    # depth_list=, stem first (0 of them left out), as in cpubone.
    "lowformer": (
        P("lowformer_b3", (1, 2, 3, 6, 6), note=BEFORE),
        P("lowformer_e1", (1, 1, 4, 4), note=BEFORE),
    ),
    # depths=; downsampling is apart.
    "mambaout": (
        P("mambaout_femto", (3, 3, 9, 3)),
        P("mambaout_base_tall_rw", (3, 4, 30, 3)),
        P("test_mambaout", (1, 1, 3, 1)),
    ),
    # depths= in model_cfgs. A MaxViT block is a convolution, a block attention and a grid
    # attention; the first block of every stage is strided and counts.
    "maxxvit": (
        P("coatnet_nano_rw_224", (3, 4, 6, 3)),
        P("coatnet_0_224", (2, 3, 5, 2)),
        P("coatnet_nano_cc_224", (3, 4, 6, 3), note="two kinds of block in turn"),
        P("coatnext_nano_rw_224", (3, 4, 6, 3)),
        P("maxvit_tiny_tf_224", (2, 2, 5, 2)),
        P("maxvit_nano_rw_256", (1, 2, 3, 1)),
        P("maxvit_tiny_pm_256", (2, 2, 5, 2)),
        P("maxxvitv2_rmlp_large_rw_224", (2, 6, 16, 2)),
        P("test_maxvit", (3, 3, 3, 3), note="one block each, but its three parts make a row"),
        P("test_coatnet", (1, 1, 2, 1)),
    ),
    # depths=. In all but the first PoolFormer, blocks of stages 3 and 4 scale their shortcuts
    # (res_scale1, res_scale2).
    "metaformer": (
        P("poolformer_s12", (2, 2, 6, 2)),
        P("poolformer_m48", (8, 8, 24, 8)),
        P("convformer_s36", (3, 12, 18, 3)),
        P("caformer_s18", (3, 3, 9, 3)),
    ),
    # num_blocks= in the entry points.
    "mlp_mixer": (
        P("mixer_s32_224", (8,)),
        P("gmixer_24_224", (24,)),
        P("resmlp_36_224", (36,)),
        P("gmlp_ti16_224", (30,)),
    ),
    # arch_def in _gen_*, as in efficientnet; the last list is mostly one convolution.
    "mobilenetv3": (
        P("mobilenetv3_large_100", (1, 2, 3, 4, 2, 3, 1)),
        P("mobilenetv3_large_150d", _deeper((1, 2, 3, 4, 2, 3, 1), 1.2), plain=(6,)),
        P("mobilenetv3_small_100", (1, 2, 3, 2, 3, 1)),
        P("fbnetv3_b", (2, 4, 5, 5, 6, 7, 1), note="stage 5 widens at its last block"),
        P("fbnetv3_g", (3, 5, 5, 5, 9, 9, 1), note="stage 5 widens at the last block but one"),
        P("lcnet_050", (1, 2, 2, 2, 4, 2), refused="no block has a shortcut (dsa is noskip)"),
        P("mobilenetv4_conv_small", (2, 2, 6, 6, 1), plain=(0, 1)),
        P("mobilenetv4_conv_medium", (1, 2, 8, 11, 1)),
        P("mobilenetv4_hybrid_medium", (1, 2, 12, 16, 1)),
    ),
    # arch_def in _gen_mobilenet_v5; the head reads the last two stages.
    "mobilenetv5": (
        P("mobilenetv5_base", (3, 5, 16, 15)),
        P("mobilenetv5_300m", (3, 5, 37, 39)),
        P("mobilenetv5_300m_enc", (3, 5, 37, 39)),
    ),
    # model_cfgs: d= of the first two stages; the others are a strided block and a MobileViT block
    # without shortcut that holds a row of transformer_depth= transformer blocks, given here.
    "mobilevit": (
        P("mobilevit_xxs", (1, 3, 2, 4, 3)),
        P("mobilevitv2_050", (1, 2, 2, 4, 3)),
    ),
    # depths= in model_cfgs; the first block of a stage pools and counts. With expand_attn=False
    # (mvitv2_large) the last block of a stage widens, in its second half.
    "mvitv2": (
        P("mvitv2_tiny", (1, 2, 5, 2)),
        P("mvitv2_large", (2, 6, 36, 4), plain=(0,), note="last blocks of stages 0 to 2 widen"),
        P("mvitv2_small_cls", (1, 2, 11, 2)),
    ),
    # depth= in the entry points.
    "naflexvit": (
        P("naflexvit_base_patch16_gap", (12,)),
        P("naflexvit_so400m_patch16_siglip", (27,)),
    ),
    # Cells 0 to 5, 6 to 11 and 12 to 17.
    "nasnet": (P("nasnetalarge", (6, 6, 6), refused=CELLS),),
    # depths=; aggregation is apart.
    "nest": (
        P("nest_tiny", (2, 2, 8)),
        P("nest_base_jx", (2, 2, 20)),
    ),
    # depths=; stage_out_chs tells which blocks change width: the first of a stage, transformer
    # blocks (the last of stages 1 and 3, every fifth of stage 2) and the block after one.
    "nextvit": (P("nextvit_small", (3, 4, 10, 3), plain=(3,)),),
    # depths= in model_cfgs; the first block counts and has a projection shortcut.
    "nfnet": (
        P("dm_nfnet_f1", (2, 4, 12, 6)),
        P("nfnet_l0", (1, 2, 6, 3)),
        P("nf_regnet_b1", (2, 4, 7, 7)),
        P("test_nfnet", (1, 1, 1, 1), refused=ONE_EACH),
    ),
    # depth=; pooling is apart.
    "pit": (
        P("pit_ti_224", (2, 6, 4)),
        P("pit_b_224", (3, 6, 4)),
    ),
    # Cells 0 to 3, 4 to 7 and 8 to 11.
    "pnasnet": (P("pnasnet5large", (4, 4, 4), refused=CELLS),),
    # depths=; downsampling is apart.
    "pvt_v2": (
        P("pvt_v2_b0", (2, 2, 2, 2)),
        P("pvt_v2_b2_li", (3, 4, 6, 3)),
        P("pvt_v2_b5", (3, 6, 40, 3)),
    ),
    # depth= in the entry points.
    "qwen3_vit": (
        P("qwen3_vit_88m", (12,)),
        P("qwen3_vit_306m_enc", (24,)),
    ),
    # num_blocks_list= of 3 for each of n_layer stages; DenseBlock reads a concatenation.
    "rdnet": (P("rdnet_tiny", (3,) * 7, refused=CONCATENATES),),
    # w0=, wa=, wm=, depth= in model_cfgs; the first block counts and has a projection shortcut.
    "regnet": (
        P("regnetx_002", _regnet(24, 36.44, 2.49, 13)),
        P("regnety_016", _regnet(48, 20.71, 2.65, 27)),
        P("regnetz_005", _regnet(16, 10.7, 2.51, 21)),
        P("regnetz_040", _regnet(48, 14.5, 2.226, 28)),
        P("regnetv_040", _regnet(96, 31.41, 2.24, 22), note=HALF + " (a norm and activation)"),
    ),
    # The lists of cfgs, as in ghostnet.
    "repghost": (P("repghostnet_050", GHOST, note=WIDENS),),
    # depth=. The downsampling between stages holds a block too, which depth does not count.
    "repvit": (
        P("repvit_m0_9", (2, 2, 14, 2), note=HALF + " (a normed token mixer)"),
        P("repvit_m1", (2, 2, 14, 2), note="legacy: both halves have one, with SE between in turn"),
        P("repvit_m2_3", (6, 6, 34, 2), note=HALF + " (a normed token mixer)"),
    ),
    # layers=; the first block counts and has a projection shortcut.
    "res2net": (
        P("res2net50_26w_4s", (3, 4, 6, 3)),
        P("res2next50", (3, 4, 6, 3)),
    ),
    # layers=; the first block counts and has a projection shortcut.
    "resnest": (
        P("resnest14d", (1, 1, 1, 1), refused=ONE_EACH),
        P("resnest26d", (2, 2, 2, 2)),
        P("resnest50d_1s4x24d", (3, 4, 6, 3)),
    ),
    # layers=; the first block counts and mostly has a projection shortcut.
    "resnet": (
        P("resnet10t", (1, 1, 1, 1), refused=ONE_EACH),
        P("resnet18", (2, 2, 2, 2)),
        P("resnet34d", (3, 4, 6, 3)),
        P("resnet50", (3, 4, 6, 3)),
        P("resnext50_32x4d", (3, 4, 6, 3)),
        P("ecaresnetlight", (1, 1, 11, 3)),
        P("seresnet269d", (3, 30, 48, 8)),
        P("senet154", (3, 8, 36, 3)),
        P("resnetblur18", (2, 2, 2, 2)),
        P("resnetaa50d", (3, 4, 6, 3)),
        P("seresnextaa201d_32x8d", (3, 24, 36, 4)),
        P("test_resnet", (1, 1, 1, 1), refused=ONE_EACH),
    ),
    # layers=; the first block counts.
    "resnetv2": (
        P("resnetv2_18", (2, 2, 2, 2)),
        P("resnetv2_34d", (3, 4, 6, 3)),
        P("resnetv2_50d_evos", (3, 4, 6, 3)),
        P("resnetv2_101x1_bit", (3, 4, 23, 3)),
    ),
    # layers in _block_cfg. Blocks of stride 1 add to the first channels and append others.
    "rexnet": tuple(
        P(name, (1, 2, 2, 3, 3, 5), refused="every block is wider: no two have one shape")
        for name in ("rexnet_100", "rexnetr_130")
    ),
    # The blocks of cfg["features"], a stage for each stride.
    "selecsls": (
        P("selecsls42b", (2, 2, 2), refused=CONCATENATES),
        P("selecsls60", (2, 3, 4), refused=CONCATENATES),
    ),
    # layers=; the first block counts and mostly has a projection shortcut.
    "senet": (
        P("legacy_seresnet18", (2, 2, 2, 2)),
        P("legacy_senet154", (3, 8, 36, 3)),
    ),
    # layers=; the patch embedding between stages is apart (a 1 x 1 convolution after stage 1).
    "sequencer": (P("sequencer2d_s", (4, 3, 8, 3)),),
    # depth=; a block is two or three residual layers. The downsampling between stages holds
    # residual layers too, which are no blocks.
    "shvit": (P("shvit_s1", (2, 4, 5)),),
    # layers=; the first block counts and mostly has a projection shortcut.
    "sknet": (
        P("skresnet18", (2, 2, 2, 2)),
        P("skresnet50d", (3, 4, 6, 3)),
    ),
    # depths=; downsampling is apart, in one Sequential with the blocks.
    "starnet": (
        P("starnet_s050", (1, 1, 3, 1)),
        P("starnet_s4", (3, 3, 12, 5)),
    ),
    # layers=; the last block of a stage is an attention block, the others are convolutions.
    "swiftformer": (
        P("swiftformer_xs", (3, 3, 6, 4)),
        P("swiftformer_l3", (4, 4, 12, 6)),
    ),
    # depths=; patch merging is apart.
    "swin_transformer": (
        P("swin_tiny_patch4_window7_224", (2, 2, 6, 2)),
        P("swin_s3_base_224", (2, 2, 30, 2)),
    ),
    # depths=; patch merging is apart.
    "swin_transformer_v2": (
        P("swinv2_tiny_window8_256", (2, 2, 6, 2)),
        P("swinv2_small_window16_256", (2, 2, 18, 2)),
    ),
    # depths=; patch merging is apart. Some blocks end in a norm (norm3) after their shortcuts: the
    # network's last, the last of each stage (ns) or every sixth of a stage (huge, giant).
    "swin_transformer_v2_cr": (
        P("swinv2_cr_tiny_224", (2, 2, 6, 2), note="the last block ends in a norm"),
        P("swinv2_cr_tiny_ns_224", (2, 2, 6, 2), note="the last block of a stage ends in a norm"),
        P("swinv2_cr_giant_224", (2, 2, 42, 2), note="every sixth block ends in a norm"),
    ),
    # depths=; stage 0 has convolutions. Between the two shortcuts of a transformer block stands a
    # convolution with a norm, without shortcut.
    "tiny_vit": (
        P("tiny_vit_5m_224", (2, 2, 6, 2), note="a block's local_conv has no shortcut"),
        P("tiny_vit_21m_384", (2, 2, 6, 2), note="a block's local_conv has no shortcut"),
    ),
    # depth=; a block updates two streams, pixels and patches, each with shortcuts of its own.
    "tnt": (
        P("tnt_s_patch16_224", (12,)),
        P("tnt_s_legacy_patch16_224", (12,)),
    ),
    # layers=; the first block counts and mostly has a projection shortcut.
    "tresnet": (
        P("tresnet_m", (3, 4, 11, 3)),
        P("tresnet_v2_l", (3, 4, 23, 3)),
    ),
    # depths=; after the first block of each stage stands a position encoding with a shortcut.
    "twins": (
        P("twins_pcpvt_small", (3, 4, 6, 3)),
        P("twins_svt_small", (2, 2, 10, 4)),
    ),
    # Convolutions between poolings, in cfgs.
    "vgg": (
        P("vgg11", (1, 1, 2, 2, 2), refused="a chain of convolutions; nothing is merged"),
        P("vgg16_bn", (2, 2, 3, 3, 3), refused="a chain of convolutions; nothing is merged"),
    ),
    # depth=; downsampling is apart.
    "visformer": (P("visformer_tiny", (7, 4, 4)),),
    # depth= in the entry points; block_fn= for other kinds of block.
    "vision_transformer": (
        P("vit_tiny_patch16_224", (12,)),
        P("vit_base_patch16_siglip_224", (12,)),
        P("vit_small_patch14_reg4_dinov2", (12,)),
        P("vit_small_patch16_36x1_224", (36,)),
        P("vit_small_patch16_18x2_224", (18,), note="a block is two in parallel"),
        P("vit_base_patch16_xp_224", (12,), note="attention and MLP in parallel"),
        P("vit_dpwee_patch16_reg1_gap_256", (16,), note="attention and MLP in parallel"),
        P("vit_gigantic_patch14_224", (48,)),
        P("beit3_base_patch16_224", (12,)),
        P("aimv2_large_patch14_224", (24,)),
        P("test_vit", (6,)),
    ),
    # layers of the backbone, then depth=. The backbone's first blocks count.
    "vision_transformer_hybrid": (
        P("vit_tiny_r_s16_p8_224", (12,), note="the backbone is a stem"),
        P("vit_small_r26_s32_224", (2, 2, 2, 2, 12)),
        P("vit_base_r50_s16_224", (3, 4, 9, 12)),
        P("vit_small_resnet50d_s16_224", (3, 4, 6, 8), note="out_indices=[3] drops layer4"),
    ),
    # depth= in the entry points.
    "vision_transformer_relpos": (
        P("vit_relpos_small_patch16_224", (12,)),
        P("vit_relpos_medium_patch16_rpn_224", (12,)),
        P("test_vit_relpos", (9,)),
    ),
    # depth= in the entry points.
    "vision_transformer_sam": (
        P("samvit_base_patch16", (12,)),
        P("samvit_huge_patch16", (32,)),
    ),
    # The first two of depths= in VitCfg (the third is a convolution), then depth=. The strided
    # blocks count.
    "vitamin": (
        P("vitamin_small_224", (2, 4, 14)),
        P("vitamin_xlarge_256", (2, 4, 32)),
    ),
    # layers=; downsampling only after stage 0, so stages 1 to 3 follow each other directly.
    "volo": (P("volo_d1_224", (4, 4, 8, 2), note=f"{MERGED}; {CLASS_TOKEN}"),),
    # block_per_stage in model_cfgs; the first block counts and has no shortcut.
    "vovnet": (
        P("vovnet39a", (1, 1, 2, 2), refused=CONCATENATES),
        P("ese_vovnet19b_dw", (1, 1, 1, 1), refused=ONE_EACH),
        P("ese_vovnet39b", (1, 1, 2, 2)),
        P("ese_vovnet99b", (1, 3, 9, 3)),
    ),
    # Entry, middle and exit flow; the blocks of the first and the last have projection shortcuts.
    # The last of the entry flow brings the resolution and width of the middle flow, as the first
    # block of a ResNet's stage does, and stands in one list with it: it counts there.
    "xception": (P("legacy_xception", (2, 1 + 8, 1), plain=(0,)),),
    # block_cfg: entry, middle and exit flow; the last block has no shortcut.
    "xception_aligned": (
        P("xception71", (4, 1 + 16, 2), plain=(0, 2)),
        P("xception65p", (2, 1 + 16, 2), plain=(0, 2), note=HALF + " (a norm and activation)"),
    ),
    # depth= in the entry points; cls_attn_layers=2 beside it.
    "xcit": (
        P("xcit_nano_12_p16_224", (12,), note=CLASS_TOKEN),
        P("xcit_tiny_24_p8_224", (24,), note=CLASS_TOKEN),
    ),
}
