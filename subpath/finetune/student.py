"""How the engine runs a config: in mixed precision, compiled, or with stages computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

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
        model.set_grad_checkpointing(recompute)
        self._runs: dict[str, Run] = {}

    @property
    def original_frozen(self) -> bool:
        """Whether the super-net needs no gradient."""
        return self._model.original_frozen

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
        if self._compiled and not self._recompute:
            straight = self._model.subnet(skip, example_input=inputs, features=True)
            run: Run = torch.compile(straight)
            return run
        return partial(self._model.forward_features_of_stages, skip=skip)


def in_single(output: Any) -> Any:
    """A model's output with half precision made single."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    return tuple(in_single(head) for head in output)
