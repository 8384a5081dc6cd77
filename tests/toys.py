"""Toy networks whose residual blocks and stages are known by construction.

Each entry of ``TOYS`` says which stages a reader finds in the code of the network, which of their
blocks have an identity shortcut, and how the blocks are taken out by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and every running statistic a value that is not its default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            if tensor.ndim > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
            else:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


class Zero(nn.Module):
    """A residual branch that gives nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class First(nn.Module):
    """Gives its inputs back: a block of several inputs, taken out."""

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return args


def put(model: nn.Module, replacements: dict[str, nn.Module]) -> nn.Module:
    """A copy of ``model`` with other modules at some paths."""
    model = copy.deepcopy(model)
    for path, module in replacements.items():
        model.set_submodule(path, module)
    return model


def taken_out(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """A copy of ``model`` with what is left of each of ``blocks`` without its branch."""
    return put(model, {path: left_over(model.get_submodule(path)) for path in blocks})


def left_over(block: nn.Module) -> nn.Module:
    """A block without its residual branch: an identity, but for a few kinds."""
    if isinstance(block, ScaledShortcut):
        return JustScale(block.scale)
    if isinstance(block, SmoothAfter):
        return nn.GELU()
    if isinstance(block, NormedShortcut):
        return block.norm
    if isinstance(block, LayoutStays):
        return Swap()
    return First() if isinstance(block, (SizedBlock, TwoStreams)) else nn.Identity()


def without_branches(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """For a forward that adds by itself: each branch gives zeros."""
    return put(model, {path: Zero() for path in blocks})


# --- residual blocks, NCHW ---------------------------------------------------------------------


def conv(width: int, out: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False)


class PostActivation(nn.Module):
    """ResNet's basic block, with a projection shortcut where the shape changes."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(width, out, stride), nn.BatchNorm2d(out)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv(out, out), nn.BatchNorm2d(out)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or width != out:
            self.downsample = nn.Sequential(conv(width, out, stride, 1), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x += shortcut
        return self.act2(x)


class PreActivation(nn.Module):
    """Norm and activation come first; the projection takes what they give."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), conv(width, out, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(out), conv(out, out)
        self.project = conv(width, out, stride, 1) if stride != 1 or width != out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        return self.conv2(F.relu(self.norm2(self.conv1(y)))) + shortcut


class SqueezeExcite(nn.Module):
    """Forks and joins of its own, by a product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


class Bottleneck(nn.Module):
    """An inverted bottleneck with squeeze-excite and no activation after the add."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.expand, self.bn1 = conv(width, 2 * width, kernel=1), nn.BatchNorm2d(2 * width)
        self.mix, self.bn2 = conv(2 * width, 2 * width, stride), nn.BatchNorm2d(2 * width)
        self.se = SqueezeExcite(2 * width)
        self.project, self.bn3 = conv(2 * width, out, kernel=1), nn.BatchNorm2d(out)
        self.has_shortcut = stride == 1 and width == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.bn1(self.expand(x)))
        y = self.se(F.silu(self.bn2(self.mix(y))))
        y = self.bn3(self.project(y))
        return x + y if self.has_shortcut else y


class InPlaceSum(nn.Module):
    """Scales and adds in place, as the normaliser-free networks do."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.conv, self.norm = conv(width, out), nn.BatchNorm2d(out)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(F.relu(x)))
        y.mul_(self.gain)
        return y.mul_(0.2).add_(x)


class InPlaceShortcut(nn.Module):
    """Adds the branch onto the shortcut's own memory."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.conv, self.norm = conv(width, out), nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x += F.relu(self.norm(self.conv(x)))
        return x


class GlobalResponseNorm(nn.Module):
    """An add of its own inside a residual branch (ConvNeXt V2), channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = x.norm(p=2, dim=(1, 2), keepdim=True)
        norm = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        return x + torch.addcmul(self.bias, self.weight, x * norm)


class ChannelsLast(nn.Module):
    """ConvNeXt V2's block: to NHWC and back inside the branch."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.grn = GlobalResponseNorm(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        y = self.fc2(self.grn(F.gelu(self.fc1(y))))
        return x + y.permute(0, 3, 1, 2)


class LayoutCancels(nn.Module):
    """The shortcut too goes to NHWC and back, through a flat list of tokens."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        tokens = tokens + self.fc(self.norm(tokens))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


class Swap(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(2, 3)


class LayoutStays(nn.Module):
    """Swaps height and width for good: same shape, other order; the swap stays."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.conv, self.norm = conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(2, 3)
        return x + self.norm(self.conv(x))


class ScaledShortcut(nn.Module):
    """The shortcut has a learned scale (PoolFormer, CAFormer)."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.conv, self.norm = conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.conv(self.norm(x))


class JustScale(nn.Module):
    """What is left of a :class:`ScaledShortcut` without its branch."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class SmoothAfter(nn.Module):
    """An activation after the add that is not idempotent: it stays when the branch goes."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.conv, self.norm, self.act = conv(width, width), nn.BatchNorm2d(width), nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x + self.norm(self.conv(x)))


class Choosy(nn.Module):
    """Decides by the values in the picture: torch.fx cannot open it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) if x.amax() < 1e6 else self.norm(x)


class ChoosyBranch(nn.Module):
    """Its branch has control flow."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.norm, self.choosy = nn.BatchNorm2d(width), Choosy(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.choosy(self.norm(x))


class NormedShortcut(nn.Module):
    """The shortcut starts behind the norm (RegNetV), so the norm stays when it is skipped."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.norm, self.conv = nn.BatchNorm2d(width), conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return x + self.conv(x)


class Padded(nn.Module):
    """Decides by the size of the picture: pads it to a multiple of three, and crops again."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        assert (width, stride) == (out, 1)
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, stride=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = -x.shape[-1] % 3
        y = nn.functional.pad(x, (0, short, 0, short)) if short > 0 else x
        rows = [self.conv(self.norm(y))] * int(x.shape[-1] > 1)
        y = nn.functional.interpolate(rows[0] if rows else y, scale_factor=3 if rows else 1)
        return x + y[..., : x.shape[-2], : x.shape[-1]]


class Residual(nn.Module):
    """A wrapper of any branch."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(x)


# --- residual blocks, tokens -------------------------------------------------------------------


class Attention(nn.Module):
    """Two heads; reads its input's sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PreNorm(nn.Module):
    """A norm and a layer, as one branch."""

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.norm(x))


class TransformerBlock(nn.Module):
    """Two residual units, one block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SizedBlock(nn.Module):
    """Is handed the picture's size, uses it, and hands it on (XCiT, MViT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(
        self, x: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        height, width = size
        y = self.norm(x).transpose(1, 2).reshape(x.shape[0], -1, height, width)
        return x + self.fc(self.mix(y).flatten(2).transpose(1, 2)), (height, width)


# --- networks ----------------------------------------------------------------------------------


class ImageNet(nn.Module):
    """A stem, a row of parts and a head: ``parts`` are stages or whatever a test needs."""

    def __init__(self, width: int, parts: dict[str, nn.Module], out: int | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, width), nn.BatchNorm2d(width), nn.ReLU())
        self.names = list(parts)
        for name, part in parts.items():
            self.add_module(name, part)
        self.norm = nn.BatchNorm2d(out or width)
        self.fc = nn.Linear(out or width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(self.norm(x).mean((2, 3)))


def stage(block: Callable[..., nn.Module], depth: int, width: int, out: int) -> nn.Sequential:
    """``depth`` blocks; the first changes the width, and then the resolution too."""
    first = block(width, out, 1 if width == out else 2)
    return nn.Sequential(first, *(block(out, out) for _ in range(depth - 1)))


def two_stages(block: Callable[..., nn.Module], depths: Sequence[int]) -> nn.Module:
    """ResNet-like: the first block of the second stage changes the shape."""
    first, second = depths
    parts = {"layer1": stage(block, first, 8, 8), "layer2": stage(block, second, 8, 16)}
    return ImageNet(8, parts, 16)


def separate_downsample(block: Callable[..., nn.Module], depths: Sequence[int]) -> nn.Module:
    """Swin-like: a layer between the stages changes the shape."""
    first, second = depths
    parts = {
        "stage1": stage(block, first, 8, 8),
        "down": nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 16, 2, 2)),
        "stage2": stage(block, second, 16, 16),
    }
    return ImageNet(8, parts, 16)


class Tokens(nn.Module):
    """A vision transformer: one row of equal blocks."""

    def __init__(
        self, depth: int, width: int = 8, block: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.ModuleList((block or TransformerBlock)(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class TwoStreams(nn.Module):
    """Two streams run through every block (TNT); the second one's first token is left out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.bridge, self.outer = (PreNorm(width, Mlp(width)) for _ in range(3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x + self.inner(x)
        y = torch.cat([y[:, :1], y[:, 1:] + self.bridge(x)], dim=1)
        return x, y + self.outer(y)


class StreamedTokens(nn.Module):
    """Pixels and patches side by side, as in TNT."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(TwoStreams(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x, y = block(x, y)
        return self.head(self.norm(y)[:, 0])


class LateToken(nn.Module):
    """A class token joins half way (ConViT); two last blocks update it alone (CaiT)."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(depth))
        self.last = nn.ModuleList(TokenBlock(width) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for i, block in enumerate(self.blocks):
            if i == len(self.blocks) // 2:
                x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
            x = block(x)
        for block in self.last:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class TokenBlock(nn.Module):
    """Only the first token is added to."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = PreNorm(width, Mlp(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        token = x[:, :1]
        return torch.cat([token + self.mlp(x).mean(1, keepdim=True), x[:, 1:]], dim=1)


class Merging(nn.Module):
    """Two branches merge, and the width is another (NextViT's second kind of block)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.left, self.right = conv(width, out), conv(width, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


class Resolutions(nn.Module):
    """Two resolutions side by side with rows of blocks of their own, then mixed (HRNet)."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(stage(PreActivation, depth, width, width) for _ in range(2))
        self.up, self.down = nn.Conv2d(width, width, 1), conv(width, width, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = self.branches[0](x), self.branches[1](y)
        return x + F.interpolate(self.up(y), scale_factor=2.0), y + self.down(x)


class Parallel(nn.Module):
    """Modules of two parallel rows of blocks, one after the other."""

    def __init__(self, modules: int, depth: int, width: int = 8) -> None:
        super().__init__()
        self.stem, self.shrink = conv(3, width), conv(width, width, 2)
        self.mixes = nn.ModuleList(Resolutions(depth, width) for _ in range(modules))
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.shrink(x)
        for mix in self.mixes:
            x, y = mix(x, y)
        return self.head(x.mean((2, 3)) + y.mean((2, 3)))


class SizedTokens(nn.Module):
    """As :class:`Tokens`, but the size of the picture travels along."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.ModuleList(SizedBlock(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        size = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x, size = block(x, size)
        x = x.transpose(1, 2).reshape(x.shape[0], -1, *size)
        return self.head(self.norm(x.mean((2, 3))))


class Loop(nn.Module):
    """``for f in branches: x = x + f(x)``, all in one forward."""

    def __init__(self, branches: Sequence[nn.Module], width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.branches = nn.ModuleList(branches)
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x.mean(1))


class PairLoop(nn.Module):
    """``for attention, mlp in layers``: two adds a turn, in the network's own forward."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(width, Attention(width)), PreNorm(width, Mlp(width))])
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for attention, mlp in self.layers:
            x = attention(x) + x
            x = mlp(x) + x
        return self.head(x.mean(1))


class BrokenLoop(PairLoop):
    """The same, but for a residual convolution after the first attention and MLP."""

    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__(depth, width)
        self.layers[0].append(Positions(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for attention, mlp, *more in self.layers:
            x = attention(x) + x
            for part in more:
                x = part(x)
            x = mlp(x) + x
        return self.head(x.mean(1))


class Positions(nn.Module):
    """Adds what a convolution over the tokens tells of their places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x.transpose(1, 2)).transpose(1, 2)


class Regions(PairLoop):
    """Two streams in one forward; they come together for attention, and part again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        local = self.embed(x).flatten(2).transpose(1, 2)
        region = local.mean(1, keepdim=True)
        for attention, mlp in self.layers:
            region = attention(region) + region
            both = torch.cat([region, local], 1)
            both = attention(both) + both
            both = mlp(both) + both
            region, local = both[:, :1], both[:, 1:]
        return self.head(region.mean(1))


class NamedParts(nn.Module):
    """A block of two parts of one class, known by name: each adds and norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.output = AddAndNorm(width), AddAndNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.attention(x))


class AddAndNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + torch.tanh(self.inner(x)))


class Again(nn.Module):
    """Calls one block several times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.block = PreActivation(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = self.block(x)
        return x


class UNet(nn.Module):
    """Stages whose outputs are used again far behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.encoder = stage(PreActivation, 4, 8, 8)
        self.down = nn.Conv2d(8, 8, 2, 2)
        self.middle = stage(Bottleneck, 3, 8, 8)
        self.decoder = stage(PreActivation, 2, 8, 8)
        self.out = conv(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded = self.encoder(self.stem(x))
        up = F.interpolate(self.middle(self.down(encoded)), scale_factor=2)
        return self.out(self.decoder(up + encoded))


class Watched(nn.Module):
    """Something looks at the output of every block."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.blocks = nn.ModuleList(PreActivation(8, 8) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        seen = []
        for block in self.blocks:
            x = block(x)
            seen.append(x.mean((2, 3)))
        return torch.stack(seen)


class Dense(nn.Module):
    """Merges by concatenation: nothing can be skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(3 + 4 * i, 4) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(4))
        self.fc = nn.Linear(19, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.convs, self.norms, strict=True):
            x = torch.cat([x, F.relu(norm(layer(x)))], 1)
        return self.fc(x.mean((2, 3)))


class Reparameterised(nn.Module):
    """RepVGG: the identity runs through a norm of its own."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv(width, out, stride)
        self.identity = nn.BatchNorm2d(out)
        self.wide, self.narrow = conv(out, out), conv(out, out, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.identity(x) + self.wide(x) + self.narrow(x)


class Widening(nn.Module):
    """ReXNet: only some of the channels have an identity shortcut."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.wide = conv(width, out - 2, stride), conv(out - 2, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = self.wide(x)
        return torch.cat([y[:, : x.shape[1]] + x, y[:, x.shape[1] :]], dim=1)


class Weighted(nn.Module):
    """Both sides of the sum have weights."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.left, self.right = conv(width, out, stride), conv(width, out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


def plain() -> nn.Module:
    """VGG-like: no merges at all."""
    layers: list[nn.Module] = []
    for width, out in ((3, 8), (8, 8), (8, 8)):
        layers += [conv(width, out), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


# --- what is known of them ---------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """One stage as a reader of the code finds it.

    Attributes:
        name: its module path.
        blocks: paths of its blocks.
        fixed: those of them without an identity shortcut.
    """

    name: str
    blocks: tuple[str, ...]
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Toy:
    """A toy network and the truth about it.

    Attributes:
        make: makes it.
        stages: its stages, in execution order; for an isotropic network the whole row.
        by_hand: takes blocks out of a copy.
        size: height and width of its pictures.
    """

    make: Callable[[], nn.Module]
    stages: tuple[Known, ...]
    by_hand: Callable[[nn.Module, Sequence[str]], nn.Module] = taken_out
    size: int = 8

    def build(self) -> nn.Module:
        """The network in eval mode, no weight at its default."""
        torch.manual_seed(0)
        return randomise(self.make()).eval()

    def input(self) -> torch.Tensor:
        """A batch of two pictures."""
        return torch.randn(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(1))


def row(name: str, depth: int, fixed: int = 0) -> Known:
    """A stage ``name`` of blocks ``name.0``, ``name.1``, ..., the first ``fixed`` of them fixed."""
    blocks = tuple(f"{name}.{i}" for i in range(depth))
    return Known(name, blocks, blocks[:fixed])


def _pairs(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    parts = {
        f"{path}.{name}": nn.Identity() if isinstance(part, Positions) else Zero()
        for path in blocks
        for name, part in model.get_submodule(path).named_children()
    }
    return put(model, parts)


def _loop(depth: int) -> nn.Module:
    return Loop([PreNorm(8, Mlp(8)) for _ in range(depth)])


_SEPARATE = (row("stage1", 2), row("stage2", 3))

TOYS: dict[str, Toy] = {
    "post-activation": Toy(
        lambda: two_stages(PostActivation, (2, 3)), (row("layer1", 2), row("layer2", 3, 1))
    ),
    "pre-activation": Toy(
        lambda: two_stages(PreActivation, (3, 2)), (row("layer1", 3), row("layer2", 2, 1))
    ),
    "squeeze-excite": Toy(
        lambda: two_stages(Bottleneck, (3, 4)), (row("layer1", 3), row("layer2", 4, 1))
    ),
    "in-place sum": Toy(lambda: separate_downsample(InPlaceSum, (2, 3)), _SEPARATE),
    "in-place shortcut": Toy(lambda: separate_downsample(InPlaceShortcut, (2, 3)), _SEPARATE),
    "channels last": Toy(lambda: separate_downsample(ChannelsLast, (2, 3)), _SEPARATE),
    "layout cancels": Toy(lambda: separate_downsample(LayoutCancels, (2, 3)), _SEPARATE),
    "scaled shortcut": Toy(lambda: separate_downsample(ScaledShortcut, (2, 3)), _SEPARATE),
    "smooth after": Toy(lambda: separate_downsample(SmoothAfter, (2, 3)), _SEPARATE),
    "choosy branch": Toy(lambda: separate_downsample(ChoosyBranch, (2, 3)), _SEPARATE),
    "padded": Toy(lambda: separate_downsample(Padded, (2, 3)), _SEPARATE),
    "layout stays": Toy(lambda: separate_downsample(LayoutStays, (2, 3)), _SEPARATE),
    "normed shortcut": Toy(lambda: separate_downsample(NormedShortcut, (2, 3)), _SEPARATE),
    "two streams": Toy(lambda: StreamedTokens(4), (row("blocks", 4),)),
    "late token": Toy(lambda: LateToken(6), (row("blocks", 6),)),
    "transformer": Toy(lambda: Tokens(6), (row("blocks", 6),)),
    "sized tokens": Toy(lambda: SizedTokens(4), (row("blocks", 4),)),
    "u-net": Toy(UNet, (row("encoder", 4), row("middle", 3), row("decoder", 2))),
    "watched": Toy(lambda: Watched(4), (row("blocks", 4),)),
    "loop": Toy(lambda: _loop(4), (row("branches", 4),), without_branches),
    "pair loop": Toy(lambda: PairLoop(4), (row("layers", 4),), _pairs),
    "broken loop": Toy(lambda: BrokenLoop(4), (row("layers", 4),), _pairs),
    "regions": Toy(lambda: Regions(4), (row("layers", 4),), _pairs),
    "named parts": Toy(lambda: Tokens(4, block=NamedParts), (row("blocks", 4),)),
}


def params() -> list[object]:
    """All toys for ``parametrize``."""
    return [pytest.param(toy, id=name) for name, toy in TOYS.items()]
