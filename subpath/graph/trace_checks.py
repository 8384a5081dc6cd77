"""What a graph would lose without a word: state that a forward keeps, and own backward passes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from ..errors import TraceError

Kept = tuple[dict[str, Any], dict[str, Any]]
"""Buffers of a module, and its other attributes that are tensors or places for them."""


def kept_by(module: nn.Module) -> Kept:
    """What ``module`` keeps from one call to the next: buffers, and tensors or their places."""
    plain = {n: v for n, v in vars(module).items() if v is None or isinstance(v, torch.Tensor)}
    return dict(module._buffers), plain


def check_kept(module: nn.Module, before: Kept) -> None:
    """A graph does not know what a forward puts onto its module, but for what it writes in place.

    Raises:
        TraceError: it puts something there.
    """
    buffers, plain = before
    for held, names in ((module._buffers, buffers), (vars(module), plain)):
        for name in names:
            value = held.get(name)
            if isinstance(value, fx.Proxy) and not _is_written(value.node, name):
                raise TraceError(f"got a forward that keeps {name} for its next call")


def _is_written(node: fx.Node, name: str) -> bool:
    """Whether ``node`` is the module's own tensor of that name, written in place (``+=``)."""
    in_place = (operator.iadd, operator.isub, operator.imul, operator.itruediv)
    while node.target in in_place and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node.op == "get_attr" and str(node.target).rpartition(".")[2] == name


def restore(module: nn.Module, before: Kept) -> None:
    """Forget what a forward put there that could not be traced."""
    buffers, plain = before
    module._buffers.update(buffers)
    vars(module).update(plain)


@contextmanager
def own_backward_kept() -> Iterator[None]:
    """Let no ``autograd.Function`` be traced through: the graph would lose its backward pass.

    Their ``forward`` is watched, not ``apply``, which networks keep under names of their own.
    """
    classes = [cls for cls in _subclasses(torch.autograd.Function) if "forward" in vars(cls)]
    forwards = {cls: vars(cls)["forward"] for cls in classes}
    for cls in classes:
        cls.forward = staticmethod(_checked(cls.__name__, cls.forward))
    try:
        yield
    finally:
        for cls, forward in forwards.items():
            cls.forward = forward


def _checked(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, fx.Proxy) for value in tree_leaves((args, kwargs))):
            raise TraceError(f"got {name}, which has a backward pass of its own")
        return forward(*args, **kwargs)

    return checked


def _subclasses(cls: Any) -> set[Any]:
    return {inner for own in cls.__subclasses__() for inner in (own, *_subclasses(own))}
