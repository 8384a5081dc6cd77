"""Formulas for the operators that fvcore counts wrongly or not at all.

The convention is fvcore's: one multiply-add is one. Matrix products, convolutions and attention
count their multiply-adds; a normalisation layer counts as fvcore estimates it (batch norm in eval
mode 2 for each element, others 5, without weights 1 less); a sum over elements (average pooling,
mean, vector norm) counts 1 for each element read, as fvcore does for adaptive average pooling.
Element-wise arithmetic, activations and softmax are not counted, and are listed as such. So
ResNet-50, MobileNetV2 and ViT-B/16 come out as published (Kang and Lee, section 4), and Swin-T,
whose published figures leave the norms out, within 0.5 %.

A handle takes the inputs and outputs of one traced operator (values of a torch.jit graph, whose
types hold the shapes) and returns its count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .fvcore_quietly import einsum_flop_jit

Handle = Callable[[Sequence[Any], Sequence[Any]], int]


def attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Scaled-dot-product attention, also with fewer key heads than query heads.

    ``N`` queries and ``M`` keys of ``d`` channels, values of ``e``: ``B H N M (d + e)``. A mask
    or causality saves nothing here, as it saves nothing in a plain implementation.
    """
    query, key, value = (_shape(x) for x in inputs[:3])
    batch_heads_queries = math.prod(_shape(outputs[0])[:-1])
    return batch_heads_queries * key[-2] * (query[-1] + value[-1])


def matrix_product(first: int) -> Handle:
    """A product of the inputs ``first`` and ``first + 1``, vectors and broadcasting included."""

    def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return math.prod(_shape(outputs[0])) * _shape(inputs[first])[-1]

    return count


def summed_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """``addbmm``: the sum over the batch of a batched product."""
    return math.prod(_shape(inputs[1])) * _shape(inputs[2])[-1]


def einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """The product of the sizes of all indices, for up to two operands; fvcore's for more."""
    equation = inputs[0].toIValue().replace(" ", "")
    operands = [_shape(value) for value in inputs[1].node().inputs()]
    terms = equation.partition("->")[0].split(",")
    if len(terms) > 2:
        return int(einsum_flop_jit(inputs, outputs))
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, operands, strict=True):
        letters = _letters(term, len(shape))
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


def convolution_with_named_padding(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """A convolution with ``padding="same"`` or ``"valid"``."""
    return math.prod(_shape(outputs[0])) * math.prod(_shape(inputs[1])[1:])


def normalisation(weight: int) -> Handle:
    """Count a norm of any rank as fvcore does; its input number ``weight`` is its weight."""

    def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        affine = _is_tensor(inputs[weight])
        return math.prod(_shape(inputs[0])) * (5 if affine else 4)

    return count


def reduction(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One for each element read once: means, vector norms, adaptive average pooling."""
    return math.prod(_shape(inputs[0]))


def average_pooling(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One for each element in each window; a kernel made from the input's size covers it once."""
    kernel = [size.toIValue() for size in inputs[1].node().inputs()]
    if None in kernel:
        return reduction(inputs, outputs)
    spatial = len(_shape(outputs[0])) - 2
    window = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** spatial
    return math.prod(_shape(outputs[0])) * int(window)


HANDLES: dict[str, Handle] = {
    "aten::scaled_dot_product_attention": attention,
    "aten::matmul": matrix_product(0),
    "aten::inner": matrix_product(0),
    "aten::mv": matrix_product(0),
    "aten::dot": matrix_product(0),
    "aten::addmv": matrix_product(1),
    "aten::baddbmm": matrix_product(1),
    "aten::addbmm": summed_product,
    "aten::einsum": einsum,
    "aten::_convolution_mode": convolution_with_named_padding,
    "aten::layer_norm": normalisation(2),
    "aten::group_norm": normalisation(2),
    "aten::rms_norm": normalisation(2),
    "aten::mean": reduction,
    "aten::norm": reduction,
    "aten::linalg_vector_norm": reduction,
    "aten::adaptive_avg_pool1d": reduction,
    "aten::adaptive_avg_pool3d": reduction,
    "aten::avg_pool1d": average_pooling,
    "aten::avg_pool2d": average_pooling,
    "aten::avg_pool3d": average_pooling,
}

# Operators that move or make elements without arithmetic, beside those that fvcore knows.
NO_ARITHMETIC = (
    "aten::clone",
    "aten::expand_as",
    "aten::fill_",
    "aten::flip",
    "aten::ne",
    "aten::pad",
    "aten::repeat",
    "aten::reshape_as",
    "aten::unflatten",
)


def _shape(value: Any) -> list[int]:
    shape: list[int] = value.type().sizes()
    return shape


def _is_tensor(value: Any) -> bool:
    return bool(value.isCompleteTensor())


def _letters(term: str, rank: int) -> list[str]:
    """One name for each dimension; those under an ellipsis are named from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{i}" for i in reversed(range(hidden))), *after]
