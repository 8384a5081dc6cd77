"""How the engine runs a config: in mixed precision, compiled, or with stages computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module
from torch.utils.checkpoint import checkpoint

from ..adaptive.model import AdaptiveModel
from ..plan import StagePlan
from .processes import Processes

Run = Callable[[Tensor], tuple[Any, tuple[Tensor, ...]]]


class Student:
    """An adaptive model as :func:`subpath.distill.two_pass_step` wants it.

    Args:
        model: in train mode.
        processes: for mixed precision.
        compiled: compile each config when it is first used.
        recompute: keep stage outputs alone; compute the rest again in the backward pass.
    """

    def __init__(
        self,
        model: AdaptiveModel,
        processes: Processes,
        compiled: bool = False,
        recompute: bool = False,
    ) -> None:
        self.stages: Sequence[StagePlan] = model.stages
        self._model, self._processes = model, processes
        self._compiled, self._recompute = compiled, recompute
        self._runs: dict[str, Run] = {}

    def forward_features_of_stages(
        self, inputs: Tensor, /, *, skip: str | None = None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """The output of a config, in single precision, and the outputs of its stages."""
        assert skip is not None
        if skip not in self._runs:
            self._runs[skip] = self._make(skip, inputs)
        with self._processes.autocast():
            output, stages = self._runs[skip](inputs)
        return in_single(output), stages

    def _make(self, skip: str, inputs: Tensor) -> Run:
        if self._recompute:
            return recomputed(self._model, skip, inputs)
        if self._compiled:
            straight = self._model.subnet(skip, example_input=inputs, features=True)
            run: Run = torch.compile(straight)
            return run
        return partial(self._model.forward_features_of_stages, skip=skip)


def in_single(output: Any) -> Any:
    """A model's output with half precision made single."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    return tuple(in_single(head) for head in output)


def recomputed(model: AdaptiveModel, skip: str, inputs: Tensor) -> Run:
    """One config in parts from stage to stage; each part is computed again for its gradients."""
    whole = model.subnet(skip, example_input=inputs, features=True)
    graph = whole.graph
    returned: Any = graph.output_node().args[0]
    ends = set(returned[1])
    part: dict[fx.Node, int] = {}
    number = 0
    for node in graph.nodes:
        part[node] = number
        number += node in ends
    parts: Any = split_module(whole, whole, part.__getitem__)
    for name, inner in list(parts.named_children()):
        parts.register_module(name, _Recomputed(inner))
    run: Run = parts
    return run


class _Recomputed(nn.Module):
    """A part of a network that keeps nothing but its inputs for the backward pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Any) -> Any:
        return checkpoint(
            self.inner,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(self.inner)),
        )


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Running statistics count a batch once, though it passes twice."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
