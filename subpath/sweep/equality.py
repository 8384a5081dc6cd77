"""Whether two results are equal to the last bit, and if not, where they differ first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from ..graph.inputs import Inputs
from .nested import tensors
from .running import run


def unequal(expected: Any, got: Any) -> str:
    """The first difference of two nested results, in words; nothing if they are equal."""
    one, form = tree_flatten_with_path(expected)
    two, other_form = tree_flatten_with_path(got)
    if form != other_form:
        return _unequal_forms(expected, got)
    for (path, a), (_, b) in zip(one, two, strict=True):
        if difference := _unequal_values(a, b):
            return f"{keystr(path) or 'the output'}: {difference}"
    return ""


def step(model: nn.Module, inputs: Inputs, **arguments: Any) -> dict[str, Tensor]:
    """One training pass from a fixed seed: loss, buffers and gradients by name.

    The model is in eval mode before and after, and keeps its buffers.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    try:
        outputs = tensors_of(run(model, inputs, **arguments))
        loss = torch.stack([out.float().square().mean() for out in outputs]).sum()
        loss.backward()
        found = {"loss": loss.detach()}
        found |= {f"buffer {n}": buffer.clone() for n, buffer in model.named_buffers()}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"gradient of {name}"] = parameter.grad
    finally:  # the next question is asked of the same model
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        model.eval().zero_grad()
    return found


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of floating-point numbers in a nested output, but for empty ones."""
    return [found for found in tensors(output) if found.is_floating_point() and found.numel()]


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
    wrong = expected != got
    apart = (expected.double() - got.double()).abs()[wrong].max()
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
