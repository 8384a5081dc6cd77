"""Whether two results are equal to the last bit, and if not, where they differ first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path

from .nested import plain


def unequal(expected: Any, got: Any) -> str:
    """The first difference of two nested results, in words; nothing if they are equal."""
    expected, got = plain(expected), plain(got)
    one, form = tree_flatten_with_path(expected)
    two, other_form = tree_flatten_with_path(got)
    if form != other_form:
        return _unequal_forms(expected, got)
    for (path, a), (_, b) in zip(one, two, strict=True):
        if difference := _unequal_values(a, b):
            return f"{keystr(path) or 'the output'}: {difference}"
    return ""


def _unequal_values(expected: Any, got: Any) -> str:
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor):
        return "" if expected == got else f"got {got}; expected {expected}"
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return (
            f"got {got.dtype} of shape {list(got.shape)}; expected {expected.dtype} of shape "
            f"{list(expected.shape)}"
        )
    if torch.equal(expected, got):
        return ""
    wrong = (expected != got) & ~(expected.isnan() & got.isnan())
    if not wrong.any():
        return ""
    apart = (expected.detach().double() - got.detach().double()).abs()[wrong].max()
    return f"{int(wrong.sum())} of {wrong.numel()} numbers differ, by up to {float(apart):.3g}"


def _unequal_forms(expected: Any, got: Any) -> str:
    if type(expected) is type(got) is dict:
        missing = [str(key) for key in expected if key not in got]
        more = [str(key) for key in got if key not in expected]
        if missing or more:
            return f"missing: {_listed(missing)}; not expected: {_listed(more)}"
    return f"got a {type(got).__name__} of other contents than the {type(expected).__name__}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "") or "nothing"
