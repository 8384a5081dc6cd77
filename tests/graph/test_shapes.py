"""Remembered calls give what torch gives, and views stay views."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subpath.graph.shapes import Quickly, run

aten = torch.ops.aten


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


CONVOLUTION = ([2, 2], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, ...
CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.add.Tensor, (empty(2, 3), empty(3))),
    (aten.add.Tensor, (empty(2, 3), 1)),
    (aten.add.Tensor, (empty(2, 3, dtype=torch.int64), 1)),
    (aten.add.Tensor, (empty(2, 3, dtype=torch.int64), 1.0)),
    (aten.mul.Tensor, (empty(2, 3).t(), empty(3, 2))),
    (aten.cat.default, ([empty(2, 3), empty(2, 4)], 1)),
    (aten.max.dim, (empty(2, 3), 1)),
    (aten.native_layer_norm.default, (empty(2, 4, 8), [8], empty(8), empty(8), 1e-6)),
    (aten.convolution.default, (empty(1, 3, 8, 8), empty(4, 3, 3, 3), None, *CONVOLUTION)),
]


def form(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return result.shape, result.stride(), result.dtype, result.device
    return type(result), [form(part) for part in result]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize(("func", "args"), CALLS, ids=lambda value: getattr(value, "__name__", ""))
def test_new_tensors_are_as_torch_makes_them(func: Any, args: tuple[Any, ...], times: int) -> None:
    results = [run(func, args, {}) for _ in range(times)]
    assert [form(result) for result in results] == [form(func(*args))] * times
    flat = [t for r in results for t in ([r] if isinstance(r, torch.Tensor) else r)]
    assert len({t.untyped_storage()._cdata for t in flat}) == len(flat)


@pytest.mark.parametrize(
    "func", [aten.view.default, aten._unsafe_view.default, aten.reshape.default]
)
def test_views_stay_views_of_their_own_input(func: Any) -> None:
    for _ in range(3):
        x = empty(2, 6)
        assert run(func, (x, [3, 4]), {}).untyped_storage()._cdata == x.untyped_storage()._cdata


def test_calls_in_place_write_each_time() -> None:
    for _ in range(3):
        x = empty(4)
        with Quickly():
            assert x.add_(1) is x
            assert x._version == 1


def test_calls_in_place_that_fail_fail_each_time() -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError), Quickly():
            empty(4).add_(empty(2, 4))


def test_other_memory_and_other_forms_are_taken_on_each_time() -> None:
    for _ in range(3):
        x, y = empty(4), empty(4)
        with Quickly():
            x.set_(y)
            y.unsqueeze_(0)
        assert x.untyped_storage()._cdata == y.untyped_storage()._cdata
        assert y.shape == (1, 4)


def test_numbers_are_never_remembered() -> None:
    for value in (1.0, 2.0):
        assert run(aten.add.Tensor, (torch.tensor(value), 1), {}) == value + 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.sampled_from([0, 0.0, False, 2]))
def test_whatever_the_shape(shape: list[int], number: float) -> None:
    x = empty(*shape)
    for func in (aten.add.Tensor, aten.pow.Tensor_Scalar, aten.eq.Scalar):
        assert form(run(func, (x, number), {})) == form(func(x, number))
