"""Copies of a model without data, to trace and to run."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from .inputs import Inputs
from .tensors import tensors_in

Result = TypeVar("Result")
_ATOMS = (bool, int, float, str, type(None), type)
_HOW = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__slots__")


def shape_copy(model: nn.Module) -> nn.Module:
    """A deep copy of ``model`` whose tensors are on the meta device: no memory, no data.

    Tracing and shape propagation work on such copies, so that whatever a forward writes on its
    modules (caches, counters) never reaches the caller's model.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if not _is_plain(value):
                for tensor in tensors_in(value):
                    memo[id(tensor)] = to_meta(tensor)
    return without_hooks(deep_copy(model, memo))


def deep_copy(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """``copy.deepcopy(model, memo)``, but faster.

    A model is thousands of small dictionaries, most of them empty. ``copy.deepcopy`` asks each
    how it would be pickled; here that is asked of what is no module, dictionary, list or set.
    """
    copied: nn.Module = _copied(model, {} if memo is None else memo)
    return copied


def on_meta(values: Any) -> Any:
    """The same nested tuples, lists and dicts with tensors that have no data."""
    return tree_map_only(torch.Tensor, to_meta, values)


def try_out(model: nn.Module, inputs: Inputs, run: Callable[[nn.Module, Inputs], Result]) -> Result:
    """What ``run`` makes of a copy of ``model`` and of inputs for it.

    The first copy that runs counts: one without data; one with data, if it decides by values; one
    with hooks too, if it needs them (networks of transformers take hidden states from hooks of
    their own).

    Raises:
        Exception: whatever the last of them raised.
    """
    with suppress(Exception), torch.device("meta"):  # other people's code
        return run(shape_copy(model), inputs.map(to_meta))
    if hooks_of(model):
        with suppress(Exception):
            return run(without_hooks(deep_copy(model)), inputs)
    return run(deep_copy(model), inputs)


def without_hooks(copied: nn.Module) -> nn.Module:
    """``copied`` itself; a user's hooks are for real calls."""
    for module in copied.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    return copied


def hooks_of(model: nn.Module) -> frozenset[int]:
    """The keys of all forward hooks of ``model`` and its parts; each hook has a key of its own."""
    return frozenset(
        key
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for key in hooks
    )


def to_meta(tensor: torch.Tensor) -> torch.Tensor:
    """The same shape and type without data."""
    if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout is torch.strided:
        form = tensor.size(), tensor.stride()  # empty_like is slower on the meta device
        meta = torch.empty_strided(*form, dtype=tensor.dtype, device="meta")
    else:
        meta = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(meta, requires_grad=tensor.requires_grad)
    return meta


def _is_plain(value: Any) -> bool:
    """Whether it holds no tensors, seen at once; most attributes of modules are such."""
    return type(value) in _ATOMS or (type(value) in (dict, OrderedDict) and not value)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in memo:
        return memo[id(value)]
    made: Any
    if kind is dict or kind is OrderedDict:
        made = memo[id(value)] = kind()
        for key, item in value.items():
            made[_copied(key, memo)] = _copied(item, memo)
    elif kind is list:
        made = memo[id(value)] = []
        made += [_copied(item, memo) for item in value]
    elif kind is tuple and all(type(item) in _ATOMS for item in value):
        made = value
    elif kind is set:
        made = memo[id(value)] = {_copied(item, memo) for item in value}
    elif isinstance(value, nn.Module) and _is_copied_by_attributes(kind):  # type: ignore[arg-type]
        made = memo[id(value)] = type(value).__new__(type(value))
        state = vars(value).items()
        made.__setstate__({n: v if type(v) in _ATOMS else _copied(v, memo) for n, v in state})
    elif isinstance(value, torch.jit.ScriptModule):
        made = _copied_script(value, memo)
    else:
        made = copy.deepcopy(value, memo)
    return made


def _copied_script(module: torch.jit.ScriptModule, memo: dict[int, Any]) -> nn.Module:
    """With gradients on, the parameters of the copy would be results, which keep no gradient."""
    with torch.no_grad():
        copied: nn.Module = copy.deepcopy(module, memo)
    for own, other in zip(module.parameters(), copied.parameters(), strict=True):
        other.requires_grad_(own.requires_grad)
    return copied


@lru_cache(maxsize=4096)
def _is_copied_by_attributes(kind: Any) -> bool:
    """Whether ``copy.deepcopy`` would copy the attributes and do no more."""
    return all(getattr(kind, name, None) is getattr(nn.Module, name, None) for name in _HOW)
