"""Is a converted network still the original? Both are run on the example, and compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import MisreadError, TraceError
from ..graph.copies import hooks_of
from ..graph.equality import unequal
from ..graph.inputs import Inputs
from ..skip import SkipConfig
from .model import AdaptiveModel


class OriginalOutput:
    """What the original gives for the example, in eval mode."""

    def __init__(self, original: nn.Module, inputs: Inputs, one_will_do: bool) -> None:
        """Run ``original``, a copy that nobody else uses; it is left as it was.

        Nothing is run if it has no data.

        Args:
            original: the network.
            inputs: the example.
            one_will_do: whether other batch sizes run as this one does; then the first sample of
                it is enough, if the network takes one sample.

        Raises:
            TraceError: it does not run.
        """
        place = next(iter(original.parameters()), torch.empty(0)).device
        self._inputs = _with_numbers(inputs, place)
        self._fewer = _first_sample(self._inputs) if one_will_do else None
        tensors = (*inputs.tensors(), *original.parameters())
        self._has_data = not any(tensor.is_meta for tensor in tensors)
        self._hidden = hooks_of(original)
        try:
            self._output = self._first_output(original) if self._has_data else None
        except Exception as error:  # other people's code
            raise TraceError(
                f"got a {type(original).__name__} that does not run on the example input: "
                f"{_said(error)}. Expected an input as the model takes it, or check=False"
            ) from error

    def _first_output(self, original: nn.Module) -> Any:
        """Without the hooks that it has, if it runs so: they may be for real calls."""
        if self._fewer is not None:
            whole, self._inputs = self._inputs, self._fewer
            try:
                return _run(original, self._inputs, self._hidden)
            except Exception:  # it may need several samples, or its hooks
                self._inputs = whole
        try:
            return _run(original, self._inputs, self._hidden)
        except Exception:  # it may need them
            if not self._hidden:
                raise
        self._hidden = frozenset()
        return _run(original, self._inputs, self._hidden)

    def compare(self, adaptive: nn.Module) -> None:
        """Run the converted network in the same way.

        Raises:
            MisreadError: it gives something else.
        """
        if not self._has_data:
            return
        try:
            difference = unequal(self._output, _run(adaptive, self._inputs, self._hidden))
        except Exception as error:  # other people's code
            difference = _said(error)
        if difference:
            raise MisreadError(
                f"got a conversion of {type(adaptive).__name__} that does not give what the "
                f"original gives for the example input ({difference}); expected the same to the "
                "last bit. Nothing was converted"
            )

    def try_base_net(self, adaptive: AdaptiveModel) -> None:
        """Run the network with everything skippable skipped.

        Raises:
            MisreadError: it does not run: a forward needs more of a block than what it returns.
        """
        if not self._has_data:
            return
        config = SkipConfig.base_net(len(adaptive.stages))
        try:
            with adaptive.using(config):
                _run(adaptive, self._inputs, self._hidden)
        except Exception as error:  # other people's code
            raise MisreadError(
                f"got a {type(adaptive).__name__} that does not run with {config} skipped "
                f"({_said(error)}); expected blocks whose only effect is what they "
                "return. Choose others with blocks=... or skippable=..."
            ) from error


def _run(model: nn.Module, inputs: Inputs, hidden: Collection[int]) -> Any:
    modules = [*model.modules(), *([model._root] if isinstance(model, AdaptiveModel) else [])]
    modes = {module: module.training for module in modules}
    own = inputs.map(torch.Tensor.clone)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _without_hooks(model, hidden):
            torch.manual_seed(0)
            return model.eval()(*own.args, **own.kwargs)
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _without_hooks(model: nn.Module, hidden: Collection[int]) -> Iterator[None]:
    """Without the hooks of these keys; those that the network puts there meanwhile stay."""
    taken = [
        (hooks, {key: hooks.pop(key) for key in list(hooks) if key in hidden})
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
    ]
    try:
        yield
    finally:
        for hooks, before in taken:
            added = dict(hooks)
            hooks.clear()
            hooks.update({**before, **added})


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _with_numbers(inputs: Inputs, place: torch.device) -> Inputs:
    """The example itself; but zeros, or whatever memory held, would make many networks look alike.

    Boxes, masks and the like have to mean something, so numbers that vary are kept.
    """
    generator = torch.Generator().manual_seed(0)

    def filled(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta or not tensor.is_floating_point() or _varies(tensor):
            return tensor if tensor.is_meta else tensor.to(place)
        return torch.randn(tensor.shape, generator=generator).to(place, tensor.dtype)

    return inputs.map(filled)


def _first_sample(inputs: Inputs) -> Inputs | None:
    """The first of a batch; ``None`` where it is not plain that the inputs are one."""
    given = (*inputs.args, *inputs.kwargs.values())
    if not given or not all(isinstance(value, torch.Tensor) and value.ndim for value in given):
        return None
    return inputs.map(lambda x: x[:1]) if len({len(x) for x in given}) == 1 else None


def _varies(tensor: torch.Tensor) -> bool:
    """Whether it holds numbers of a usual size that differ."""
    smallest, largest = tensor.aminmax() if tensor.numel() else (tensor.new_zeros(()),) * 2
    return 1e-4 < float(largest - smallest) < 1e6
