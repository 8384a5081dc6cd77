"""The passes of one training step over one batch; what they begin with runs once.

Forward and backward: the values that leave the prefix are leaves, which gather the gradients of all
passes, and one pass goes back from there. What separate passes would do twice and leaves a trace
is done twice still: modules that keep statistics see the batch again, without gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..graph.tensors import tensors_in
from .prefix import Part, Prefix, drew, generators


class Source(Protocol):
    """Makes the parts of configs, and keeps them."""

    def prefix(self, training: bool, inputs: tuple[Any, ...]) -> Prefix | None:
        """What super-net and base-net begin with on such inputs."""

    def rest(
        self, before: Prefix, skip: str, training: bool, inputs: tuple[Any, ...]
    ) -> Part | None:
        """What follows it in a config; ``None`` if the config does not begin so."""

    def forget_prefixes(self) -> None:
        """Look anew for what may be shared."""


class Passes:
    """The passes of one step over one batch.

    Args:
        source: of the parts.
        root: the module that they run on.
        training: the mode of the graphs.
    """

    def __init__(self, source: Source, root: nn.Module, training: bool) -> None:
        self._source, self._root, self._training = source, root, training
        self._begun: _Begun | None = None

    def run(self, skip: str, inputs: tuple[Any, ...]) -> tuple[bool, Any]:
        """Whether ``skip`` could be run so, and what it returns."""
        begun = self._begun
        before = self._source.prefix(self._training, inputs) if begun is None else begun.prefix
        if before is None or (begun is not None and not begun.holds_for(self._root, inputs)):
            return False, None
        rest = self._source.rest(before, skip, self._training, inputs)
        if rest is None:
            return False, None
        if begun is None:
            begun = self._begun = _begin(before, self._root, inputs)
            if begun.drew:
                self._source.forget_prefixes()
        else:
            begun.count_again(self._root)
        return True, rest(self._root, inputs, begun.values)

    def backward(self) -> None:
        """Backpropagate through the prefix what the passes gave it, all at once."""
        if self._begun is not None:
            self._begun.backward()
            self._begun = None


@dataclass(frozen=True, eq=False)
class _Begun:
    """A prefix that ran on a batch.

    ``ends`` are tensors with a graph behind them, each with a leaf that stands for it in
    ``values`` and gathers the gradients of all passes.
    """

    prefix: Prefix
    inputs: tuple[Any, ...]
    values: Mapping[str, Any]
    ends: tuple[tuple[Tensor, Tensor], ...]
    seen: tuple[_Seen, ...]
    with_gradient: bool
    drew: bool

    def holds_for(self, root: nn.Module, inputs: tuple[Any, ...]) -> bool:
        """Whether a further pass may use it."""
        same = len(inputs) == len(self.inputs) and all(map(_is, inputs, self.inputs))
        if not same or self.drew:
            return False
        return (
            self.with_gradient
            or not torch.is_grad_enabled()
            or not (self.prefix.learns(root) or any(t.requires_grad for t in tensors_in(inputs)))
        )

    def count_again(self, root: nn.Module) -> None:
        """Let what keeps statistics see the batch once more, as in a further pass.

        Only the parts that own buffers, on what they were given; unless that was written into.
        """
        if self.prefix.again is None or not self.prefix.keeps(root):
            return
        with torch.no_grad():
            if self.prefix.keepers and all(one.is_unchanged for one in self.seen):
                for one in self.seen:
                    one.module(*one.args, **one.kwargs)
            else:
                self.prefix.again(root, self.inputs, self.values)

    def backward(self) -> None:
        """One pass back through the prefix, with the sum of the gradients."""
        pairs = [(end, leaf.grad) for end, leaf in self.ends if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([end for end, _ in pairs], [grad for _, grad in pairs])


def _is(one: Any, other: Any) -> bool:
    return one is other


@dataclass(frozen=True, eq=False)
class _Seen:
    """A call of a module that owns buffers."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    versions: tuple[int, ...]

    @property
    def is_unchanged(self) -> bool:
        """Whether its arguments are what they were when it was called."""
        return self.versions == _versions(self.args, self.kwargs)


def _versions(*values: Any) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in tensors_in(values))


@contextmanager
def _watched(root: nn.Module, paths: Sequence[str]) -> Iterator[list[_Seen]]:
    """The calls, inside the block, of the outermost modules under ``paths`` that own buffers."""
    seen: list[_Seen] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(_Seen(module, args, kwargs, _versions(args, kwargs)))

    owners = {m: None for path in paths for m in _owners(root.get_submodule(path))}
    handles = [m.register_forward_pre_hook(note, with_kwargs=True) for m in owners]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _owners(module: nn.Module) -> Iterator[nn.Module]:
    if any(True for _ in module.buffers(recurse=False)):
        yield module
    else:
        for child in module.children():
            yield from _owners(child)


def _begin(before: Prefix, root: nn.Module, inputs: tuple[Any, ...]) -> _Begun:
    start = generators(inputs)
    with _watched(root, before.keepers) as seen:
        got = before.first(root, inputs, {})
    ends: list[tuple[Tensor, Tensor]] = []

    def leaf(value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        ends.append((value, value.detach().requires_grad_()))
        return ends[-1][1]

    values = dict(zip(before.gives, tree_map_only(Tensor, leaf, got), strict=True))
    return _Begun(
        before,
        inputs,
        values,
        tuple(ends),
        tuple(seen),
        torch.is_grad_enabled(),
        drew(start, inputs),
    )
