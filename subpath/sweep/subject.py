"""A network with weights, small, with all that could hide an error switched on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import zoo
from ..adaptive.model import AdaptiveModel
from ..errors import ModelError
from ..graph.inputs import Inputs
from ..skip import SkipConfig
from .comparison import converted, each_tensor, seed_all, tensors_of

SIZES = (64, 96, 128, 160, 192, 224, 256)


@dataclass(frozen=True)
class Subject:
    """A network with random weights, and what it was converted to.

    Attributes:
        library: where the network comes from.
        name: its name there.
        arguments: for its constructor: a small input, and what makes it demanding.
        example: what it is run with.
        device: ``meta`` if it can be made and run without data, else ``cpu``.
        original: the network, in eval mode.
        adaptive: what it was converted to.
    """

    library: zoo.Library
    name: str
    arguments: Mapping[str, Any]
    example: Inputs
    device: str
    original: nn.Module
    adaptive: AdaptiveModel

    @property
    def base(self) -> SkipConfig:
        """The config of the base-net."""
        return SkipConfig.base_net(len(self.adaptive.stages))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one sample, if the input is a batch of images and nothing else."""
        return image_shape(self.example)

    @property
    def conditions(self) -> str:
        """The size of the input, and what was switched on."""
        given = "".join(f", {name}={value}" for name, value in self.arguments.items())
        return f"{_sizes(self.example)}{given}"

    def larger(self, more: int) -> Inputs:
        """Images with ``more`` added to height and width."""
        assert self.shape is not None
        *channels, height, width = self.shape
        return Inputs((noise((2, *channels, height + more, width + more)),))

    def more_samples(self) -> Inputs:
        """A batch with the first sample once again."""
        return each_tensor(self.example, lambda t: torch.cat([t, t[:1]]) if t.ndim else t)


def make_subject(library: zoo.Library, name: str) -> Subject:
    """The network, with the smallest input of :data:`SIZES` that it takes if it is not small.

    Raises:
        SubpathError: it cannot be made, run or converted.
    """
    if library.small:
        original = make_original(library, name, {})
        example = library.inputs(name, original)
        adaptive = converted(original, example)
        return Subject(library, name, {}, example, "cpu", original, adaptive)
    device = "meta" if _runs(library, name, {}, None, "meta") else "cpu"
    arguments, shape = smallest_input(library, name, device)
    for argument, value in library.demanding.items():
        if _runs(library, name, {**arguments, argument: value}, shape, device):
            arguments[argument] = value
    original = make_original(library, name, arguments)
    example = Inputs((noise((2, *shape)),))
    adaptive = converted(original, example)
    return Subject(library, name, arguments, example, device, original, adaptive)


def smallest_input(
    library: zoo.Library, name: str, device: str
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Constructor arguments and shape of one sample with which the network runs.

    Raises:
        ModelError: it runs with none.
    """
    for arguments, shape in _candidates(library, name, device):
        if _runs(library, name, arguments, shape, device):
            return arguments, shape
    raise ModelError(f"got {name}, which runs with no input that was tried; expected an image")


def make_original(
    library: zoo.Library, name: str, arguments: Mapping[str, Any], seed: int = 0
) -> nn.Module:
    """The network in eval mode, with seeded weights; none of them is left at a value that hides.

    Layer scales, gates and last norms start at zero or nearly so, and all norms alike: the branch
    behind them could be wrong, or one norm stand for another, and nobody would see it. Buffers
    that are not saved stay as they are.
    """
    seed_all(seed)
    model = library.make(name, **arguments)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.numel() and _hides(tensor):
                tensor.add_(torch.rand_like(tensor) * 0.2)
    return model.eval()


def image_shape(inputs: Inputs) -> tuple[int, ...] | None:
    """The shape of one sample, if the inputs are a batch of images and nothing else."""
    tensor = inputs.args[0] if len(inputs.args) == 1 and not inputs.kwargs else None
    is_image = isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim >= 4
    return tuple(tensor.shape[1:]) if isinstance(tensor, Tensor) and is_image else None


def noise(shape: tuple[int, ...]) -> Tensor:
    """Seeded normal noise."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _sizes(inputs: Inputs) -> str:
    """Shapes of one sample of each input, with the names of those given by name."""
    named = [*(("", value) for value in inputs.args), *inputs.kwargs.items()]
    words = (
        f"{name} {'x'.join(map(str, value.shape[1:]))}".strip()
        for name, value in named
        if isinstance(value, Tensor)
    )
    return ", ".join(filter(None, words))


def _hides(tensor: Tensor) -> bool:
    return bool(tensor.min() == tensor.max()) or bool(tensor.abs().max() < 1e-2)


def _candidates(
    library: zoo.Library, name: str, device: str
) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """Constructor arguments and shapes of one sample, small ones first."""
    with torch.device(device):
        (example,) = library.inputs(name, library.make(name)).args
    own = tuple(example.shape[1:])
    for size in SIZES:
        if size < own[-1]:
            small = (*own[:-2], size, size)
            yield from (({argument: size}, small) for argument in library.size_arguments)
            yield {}, small
    yield {}, own


def _runs(
    library: zoo.Library,
    name: str,
    arguments: Mapping[str, Any],
    shape: tuple[int, ...] | None,
    device: str,
) -> bool:
    """Whether the network takes these arguments and this input, and learns from it."""
    try:
        with torch.device(device):
            model = library.make(name, **arguments)
            if shape is None:
                (images,) = library.inputs(name, model).args
            else:
                images = torch.zeros(2, *shape)
            with torch.no_grad():
                model.eval()(images)
            outputs = tensors_of(model.train()(images))
            torch.stack([output.float().mean() for output in outputs]).sum().backward()
    except Exception:  # a network may refuse in any way
        return False
    return True
