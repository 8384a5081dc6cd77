"""The distillation losses against formulas written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subpath.distill import feature_loss, logits_loss, pooled
from subpath.errors import SubpathError


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def kl(super_: np.ndarray, base: np.ndarray, temperature: float) -> float:
    """T^2 / B sum_b sum_c p log(p / q), as the paper writes it."""
    p, q = softmax(super_ / temperature), softmax(base / temperature)
    return float(temperature**2 * (p * np.log(p / q)).sum() / len(p))


@given(
    classes=st.integers(2, 30),
    batch=st.integers(1, 5),
    temperature=st.floats(0.5, 8),
    seed=st.integers(0, 99),
)
def test_logits_loss_is_the_formula_for_any_number_of_classes(classes, batch, temperature, seed):
    random = np.random.default_rng(seed)
    base, super_ = random.normal(size=(2, batch, classes)) * 3
    got = logits_loss(torch.from_numpy(base), torch.from_numpy(super_), temperature)
    assert got.item() == pytest.approx(kl(super_, base, temperature), rel=1e-9, abs=1e-12)


def test_the_direction_is_from_super_to_base():
    super_, base = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = 1 / (1 + math.exp(-4))
    expected = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert logits_loss(base, super_).item() == pytest.approx(expected, rel=1e-5)
    assert logits_loss(super_, base).item() != pytest.approx(expected, rel=1e-2)


def test_gradient_reaches_the_base_net_alone():
    """d/dq of T^2 KL(p || softmax(q / T)) is T (softmax(q / T) - p) / B."""
    base = torch.randn(4, 6, dtype=torch.double, requires_grad=True)
    super_ = torch.randn(4, 6, dtype=torch.double, requires_grad=True)
    logits_loss(base, super_, temperature=2.0).backward()
    expected = 2.0 * ((base / 2).softmax(1) - (super_ / 2).softmax(1)) / 4
    torch.testing.assert_close(base.grad, expected.detach())
    assert super_.grad is None


def test_half_precision_is_computed_in_single():
    base, super_ = torch.randn(2, 5).half(), torch.randn(2, 5).half()
    got = logits_loss(base, super_)
    assert got.dtype == torch.float32
    assert torch.equal(got, logits_loss(base.float(), super_.float()))


@pytest.mark.parametrize(
    ("shape", "channel_dim", "axes"),
    [
        ((3, 5, 4, 2), 1, (2, 3)),
        ((3, 4, 2, 5), 3, (1, 2)),
        ((3, 4, 2, 5), -1, (1, 2)),
        ((3, 7, 5), 2, (1,)),
        ((3, 5), 1, ()),
    ],
)
def test_pooled_is_the_mean_over_all_but_batch_and_channels(shape, channel_dim, axes):
    features = torch.randn(shape, dtype=torch.double)
    expected = features.numpy().mean(axis=axes) if axes else features.numpy()
    got = pooled(features, channel_dim)
    assert got.shape == (3, 5)
    np.testing.assert_allclose(got.numpy(), expected)


def test_feature_loss_is_the_sum_over_stages_of_pooled_kl():
    random = np.random.default_rng(0)
    shapes, axes = [(2, 6, 4, 4), (2, 3, 3, 8), (2, 5, 12)], [(2, 3), (1, 2), (1,)]
    base = [random.normal(size=shape) * 4 for shape in shapes]
    super_ = [random.normal(size=shape) * 4 for shape in shapes]
    expected = sum(
        kl(s.mean(axis=axis), b.mean(axis=axis), 3.0)
        for b, s, axis in zip(base, super_, axes, strict=True)
    )
    got = feature_loss(
        [torch.from_numpy(b) for b in base], [torch.from_numpy(s) for s in super_], [1, 3, 2], 3.0
    )
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_refusals_name_what_was_got():
    with pytest.raises(SubpathError, match=r"\(2, 3\).*\(2, 4\)"):
        logits_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(SubpathError, match="1 stage outputs of the base-net, 2 of the super-net"):
        feature_loss([torch.zeros(2, 3)], [torch.zeros(2, 3)] * 2, [1])
