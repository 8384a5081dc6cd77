"""How the engine runs a config: in mixed precision, compiled, or with stages computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from ..errors import DataError
from ..planning import StagePlan
from .processes import Processes

Run = Callable[..., tuple[Any, tuple[Tensor, ...]]]
Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Heard:
    """What a network gave, and what some of its modules said meanwhile.

    Attributes:
        output: of the network.
        said: for each module that was listened to, by path, the last it gave.
    """

    output: Any
    said: Mapping[str, Any]


class ConfigRunner:
    """An adaptive model as :func:`subpath.distill.two_pass_step` wants it.

    Args:
        model: in train mode.
        processes: for mixed precision.
        compiled: compile each config when it is first used.
        recompute: keep stage outputs alone; compute the rest again in the backward pass.
        read: brings an output to the form that is learned from; default: in single precision.
        heard: paths of modules whose outputs are read too; ``read`` is then given a
            :class:`Heard`.
    """

    def __init__(
        self,
        model: AdaptiveModel,
        processes: Processes,
        compiled: bool = False,
        recompute: bool = False,
        read: Read | None = None,
        heard: Sequence[str] = (),
    ) -> None:
        self.stages: Sequence[StagePlan] = model.stages
        self._model, self._processes = model, processes
        self._compiled, self._recompute = compiled, recompute
        self._read = read or in_single
        self._heard = {path: model.get_submodule(path) for path in heard}
        model.set_grad_checkpointing(recompute)
        self._runs: dict[str, Run] = {}

    @property
    def original_frozen(self) -> bool:
        """Whether the super-net needs no gradient."""
        return self._model.original_frozen

    def forward_features_of_stages(
        self, *args: Any, skip: str | None = None, **kwargs: Any
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """The output of a config, as the task reads it, and the outputs of its stages."""
        assert skip is not None
        if skip not in self._runs:
            self._runs[skip] = self._make(skip, args)
        return self._reading(self._runs[skip], *args, **kwargs)

    @contextmanager
    def sharing(self) -> Iterator[Run]:
        """Several passes over one batch; compiled configs share nothing."""
        if self._compiled and not self._recompute:
            yield self.forward_features_of_stages
            return
        with self._model.sharing() as run:
            yield partial(self._reading, run)

    def _reading(self, run: Run, *args: Any, **kwargs: Any) -> tuple[Any, tuple[Tensor, ...]]:
        with self._processes.autocast(), _listening(self._heard) as said:
            output, stages = run(*args, **kwargs)
        return self._read(Heard(output, said) if self._heard else output), stages

    def _make(self, skip: str, args: tuple[Any, ...]) -> Run:
        if self._compiled and not self._recompute:
            straight = self._model.subnet(skip, example_input=args, features=True)
            run: Run = torch.compile(straight)
            return run
        return partial(self._model.forward_features_of_stages, skip=skip)


@contextmanager
def _listening(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Keep what each module gives last."""
    said: dict[str, Any] = {}

    def hook(path: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            said[path] = output

        return keep

    handles = [module.register_forward_hook(hook(path)) for path, module in modules.items()]
    try:
        yield said
    finally:
        for handle in handles:
            handle.remove()


def call(network: Callable[..., Any], inputs: Any) -> Any:
    """Run a network on a batch: a tensor, a tuple of all inputs, or a dict of inputs by name."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


def in_single(output: Any) -> Any:
    """A model's output with half precision made single."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    return tuple(in_single(head) for head in output)


def logits_in(output: Any, shape: tuple[str, ...]) -> Tensor:
    """The logits of a network's output, in single precision.

    Args:
        output: a tensor, or a mapping that has it as ``logits``.
        shape: names of the dimensions that are expected.

    Raises:
        DataError: there are none of so many dimensions.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else output
    if not isinstance(logits, Tensor) or logits.dim() != len(shape):
        raise DataError(
            f"got a {type(output).__name__} from the network; expected logits of shape "
            f"({', '.join(shape)}), or an output that has them as 'logits'"
        )
    single: Tensor = in_single(logits)
    return single
