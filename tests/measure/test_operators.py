"""Each formula against the number of multiply-adds written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn, zeros

from subpath.measure import count


class Calls(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def macs(function: Callable[..., torch.Tensor], *shapes: tuple[int, ...]) -> int:
    return count(Calls(function), tuple(zeros(shape) for shape in shapes)).macs


# 2 pictures, 4 heads, 6 queries, 5 keys; 8 channels in queries and keys, 3 in values.
ATTENTION = 2 * 4 * 6 * 5 * 8 + 2 * 4 * 6 * 5 * 3


def test_attention_with_values_of_other_width() -> None:
    got = macs(F.scaled_dot_product_attention, (2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 3))
    assert got == ATTENTION


def test_attention_with_fewer_key_heads_costs_as_if_they_were_repeated() -> None:
    def grouped(*qkv: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(*qkv, enable_gqa=True)

    assert macs(grouped, (2, 4, 6, 8), (2, 2, 5, 8), (2, 2, 5, 3)) == ATTENTION


def test_attention_equals_its_two_matrix_products() -> None:
    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.softmax(q @ k.transpose(-2, -1), -1) @ v

    shapes = (2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 8)
    assert macs(F.scaled_dot_product_attention, *shapes) == macs(plain, *shapes) > 0


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((5,), (5,), 5),
        ((3, 5), (5,), 15),
        ((3, 5), (5, 4), 60),
        ((2, 3, 5), (5, 4), 120),
        ((3, 5), (2, 5, 4), 120),  # the left matrix is used for both of the batch
        ((7, 1, 3, 5), (2, 5, 4), 840),
    ],
)
def test_matrix_products_with_vectors_and_broadcasting(
    left: tuple[int, ...], right: tuple[int, ...], expected: int
) -> None:
    assert macs(torch.matmul, left, right) == expected


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (torch.bmm, [(2, 3, 5), (2, 5, 4)], 120),
        (torch.baddbmm, [(2, 3, 4), (2, 3, 5), (2, 5, 4)], 120),
        (torch.addbmm, [(3, 4), (2, 3, 5), (2, 5, 4)], 120),
        (torch.addmm, [(3, 4), (3, 5), (5, 4)], 60),
        (torch.addmv, [(3,), (3, 5), (5,)], 15),
        (F.linear, [(2, 7, 5), (4, 5)], 280),
    ],
)
def test_other_products(
    function: Callable[..., torch.Tensor], shapes: list[tuple[int, ...]], expected: int
) -> None:
    assert macs(function, *shapes) == expected


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("b h q d, b h k d -> b h q k", [(2, 3, 4, 5), (2, 3, 6, 5)], 2 * 3 * 4 * 6 * 5),
        ("nhw,ixh->nixw", [(2, 3, 4), (5, 6, 3)], 2 * 3 * 4 * 5 * 6),
        ("...d,de", [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], expected: int) -> None:
    assert macs(lambda *operands: torch.einsum(equation, *operands), *shapes) == expected


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(6, 8, 3, 2, 1), (1, 6, 8, 8), 4 * 4 * 8 * 6 * 9),
        (nn.Conv2d(6, 8, 3, padding="same"), (1, 6, 8, 8), 8 * 8 * 8 * 6 * 9),
        (nn.Conv2d(6, 8, 3, padding="same", groups=2), (1, 6, 8, 8), 8 * 8 * 8 * 3 * 9),
        (nn.ConvTranspose2d(6, 8, 2, 2), (1, 6, 4, 4), 4 * 4 * 6 * 8 * 4),
        (nn.BatchNorm2d(6), (1, 6, 4, 4), 2 * 96),
        (nn.LayerNorm(6), (1, 4, 4, 6), 5 * 96),
        (nn.LayerNorm(6, elementwise_affine=False), (1, 4, 4, 6), 4 * 96),
        (nn.LayerNorm(6), (1, 1, 1, 1, 4, 4, 6), 5 * 96),
        (nn.GroupNorm(2, 6), (1, 6, 4, 4), 5 * 96),
        (nn.RMSNorm(6), (1, 4, 4, 6), 5 * 96),
        (nn.AdaptiveAvgPool2d(1), (1, 6, 4, 4), 96),
        (nn.AvgPool2d(3, 1, 1), (1, 6, 4, 4), 9 * 96),
        (nn.AvgPool2d((2, 4)), (1, 6, 4, 4), 96),
        (Calls(lambda x: F.avg_pool2d(x, x.shape[2:])), (1, 6, 4, 4), 96),
        (Calls(lambda x: x.mean((2, 3))), (1, 6, 4, 4), 96),
        (Calls(lambda x: F.normalize(x, dim=1)), (1, 6, 4, 4), 96),
    ],
)
def test_layers(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert count(layer, (zeros(shape),)).macs == expected


def test_multihead_attention_hides_nothing_in_a_fused_kernel() -> None:
    tokens, width = 5, 8
    layer = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True).eval()
    with torch.no_grad():  # where torch would take the fused kernel
        got = count(layer, (zeros(1, tokens, width),))
    projections = 4 * tokens * width * width
    attention = 2 * tokens * tokens * width
    mlp = 2 * tokens * width * 16
    norms = 2 * 5 * tokens * width
    assert got.macs == projections + attention + mlp + norms


def test_elementwise_arithmetic_is_listed_and_layout_is_not() -> None:
    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = F.gelu(x * y).permute(0, 2, 1).clone()
        return torch.softmax(x + x, -1) @ y

    got = count(Calls(forward), (zeros(1, 4, 4), zeros(1, 4, 4)))
    assert got.macs == 64
    assert got.by_operator == {"matmul": 64}
    assert got.uncounted == {"add": 1, "gelu": 1, "mul": 1, "softmax": 1}


def test_an_operator_without_a_formula_is_listed() -> None:
    def forward(x: Any) -> Any:
        return torch.cdist(x, x)

    got = count(Calls(forward), (zeros(1, 4, 4),))
    assert got.uncounted == {"cdist": 1}
