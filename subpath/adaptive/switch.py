"""Which skip config runs: that of a call, of a ``with`` block, or the model's default."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any

import torch

from ..graph.tensors import tensors_in
from ..skip import SkipConfig
from .codegen import dispatches

_ACTIVE: ContextVar[Mapping[int, SkipConfig]] = ContextVar("subpath_active_configs")
_NONE: Mapping[int, SkipConfig] = {}
_NUMBERS = itertools.count()


class Switch:
    """The switch of one model; threads and tasks do not disturb each other.

    Attributes:
        stages: how many letters its configs have.
        default: the config where neither call nor ``with`` block names one.
        recomputing: the config of the latest backward pass.
    """

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self.default = self.recomputing = SkipConfig.super_net(stages)
        self._number = next(_NUMBERS)

    @dispatches
    def active(self) -> SkipConfig:
        """The config that runs in this thread or task when a call names none."""
        return _ACTIVE.get(_NONE).get(self._number, self.default)

    def running(self) -> SkipConfig:
        """The config of the pass that is being made.

        Inside a backward pass that is the config of the forward pass it belongs to: what gradient
        checkpointing computes again may run in a thread of autograd's own, which knows no context.
        """
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            return self.recomputing
        return self.active()

    def note_backward(self, output: Any) -> None:
        """Remember by the nodes of ``output`` which config its backward pass is of."""
        self.recomputing = config = self.active()

        def begins(_: Any) -> None:
            self.recomputing = config

        for tensor in tensors_in(output):
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(begins)

    def activate(self, config: SkipConfig) -> Token[Mapping[int, SkipConfig]]:
        """Let ``config`` run from now on in this thread or task; see :meth:`back`."""
        return _ACTIVE.set({**_ACTIVE.get(_NONE), self._number: config})

    def back(self, token: Token[Mapping[int, SkipConfig]]) -> None:
        """Undo what :meth:`activate` did."""
        _ACTIVE.reset(token)

    def config(self, skip: str) -> SkipConfig:
        """``skip``, checked.

        Raises:
            SkipConfigError: it is no config of this model.
        """
        return SkipConfig(skip, self.stages)

    def __deepcopy__(self, memo: dict[int, Any]) -> Switch:
        copied = Switch(self.stages)
        copied.default = self.default
        memo[id(self)] = copied
        return copied
