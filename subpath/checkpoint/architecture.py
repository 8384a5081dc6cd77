"""Make the original network that a file names, without doing everything that it asks for.

A file can ask for a network of any size. It is made on the meta device first, where tensors take
no memory; with memory it is made only once its shapes are known to be those of the weights.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from .. import zoo
from ..adaptive.model import AdaptiveModel
from ..adaptive.twins import SKIP_AWARE
from ..errors import CheckpointError, ModelError
from .compatibility import expected_state
from .format import Architecture
from .state import PRECISIONS, mismatches, shown

# Arguments that would make timm read other files while it builds the network, or choose a device.
_NOT_SHAPES = (
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
    "device",
)

# What the tensors of a network without buffers that are not saved may take beside them.
_MAX_UNSAVED_BYTES = 2**30
_MAX_NUMBER = 2**16
_MAX_VALUES = 10_000


def check_arguments(architecture: Architecture) -> None:
    """Refuse arguments that cannot be saved, or that do more than to say how a network is made.

    Raises:
        CheckpointError: there are such.
    """
    name = shown(architecture.name)
    try:
        json.dumps(dict(architecture.arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"got arguments for {name} that JSON cannot hold ({error}); expected "
            "numbers, strings, booleans, lists and dicts. Leave the architecture out, and give a "
            "fresh model to subpath.load"
        ) from error
    refused = [key for key in _NOT_SHAPES if architecture.arguments.get(key)]
    if refused:
        raise CheckpointError(
            f"got the arguments {', '.join(refused)} for {name}; expected none that "
            "read other files or choose a device: the weights are in the checkpoint"
        )


def recorded(model: AdaptiveModel) -> Architecture | None:
    """How timm says that it made the original; ``None`` if that makes another network.

    It would, for example, if layers were replaced since.
    """
    made_with = zoo.made_with(model)
    if made_with is None:
        return None
    try:
        architecture = Architecture(made_with[0], json.loads(json.dumps(made_with[1])))
        check_arguments(architecture)
        with torch.device("meta"):
            again = zoo.create_model(architecture.name, **architecture.arguments)
        modules = dict(model.named_modules())
        added = (*SKIP_AWARE, "calibrated")
        own = {name for name in modules if name.partition(".")[0] not in added}
        same = own == {name for name, _ in again.named_modules()} and all(
            type(part) is type(modules[name]) and part.extra_repr() == modules[name].extra_repr()
            for name, part in again.named_modules()
            if name
        )
    except (TypeError, ValueError, CheckpointError, ModelError):
        return None
    state = model.state_dict()
    fits = not mismatches(expected_state(again, model.plan, state), state, any_precision=True)
    return architecture if same and fits else None


def without_data(architecture: Architecture, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network on the meta device.

    Args:
        architecture: what a file says.
        tensors: what the file with the weights holds; they bound what is made.

    Raises:
        CheckpointError: it cannot be made, or is far larger than the weights.
    """
    largest = max((n for tensor in tensors.values() for n in tensor.shape), default=0)
    _check_numbers(architecture, max(_MAX_NUMBER, largest))
    try:
        with torch.device("meta"), _no_more_than(4 * len(tensors) + 1000):
            model = zoo.create_model(architecture.name, **architecture.arguments)
    except ModelError as error:
        raise CheckpointError(
            f"got a saved architecture that cannot be made: {error}. Expected one that this timm "
            "makes; or make the original network and call subpath.load(directory, model=network)"
        ) from error
    saved = model.state_dict().keys()
    unsaved = sum(b.nbytes for name, b in model.named_buffers() if name not in saved)
    if unsaved > max(_MAX_UNSAVED_BYTES, sum(t.nbytes for t in tensors.values())):
        raise CheckpointError(
            f"got an architecture {shown(architecture.name)} whose buffers take {unsaved} bytes "
            "beside the saved weights; expected no more than the weights themselves"
        )
    return model


def with_data(architecture: Architecture, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network in the precision of ``tensors``, once :func:`without_data` was found to fit.

    Raises:
        CheckpointError: it cannot be made.
    """
    try:
        model = zoo.create_model(architecture.name, **architecture.arguments)
    except ModelError as error:
        raise CheckpointError(f"the saved architecture cannot be made: {error}") from error
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        saved = tensors.get(name)
        if saved is not None and saved.dtype in PRECISIONS and tensor.dtype in PRECISIONS:
            tensor.data = tensor.data.to(saved.dtype)
    return model


def _check_numbers(architecture: Architecture, most: int) -> None:
    """Refuse numbers that no network with these weights needs: some are lengths of Python lists."""
    values = list(_values(architecture.arguments))
    large = [v for v in values if isinstance(v, (int, float)) and not math.fabs(v) <= most]
    if large or len(values) > _MAX_VALUES:
        what = f"the number {large[0]}" if large else f"{len(values)} values"
        raise CheckpointError(
            f"got {what} in the arguments for {shown(architecture.name)}; expected at most "
            f"{_MAX_VALUES} values and no number above {most}"
        )


def _values(arguments: Any) -> Iterator[Any]:
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if isinstance(arguments, list):
        for value in arguments:
            yield from _values(value)
    else:
        yield arguments


@contextmanager
def _no_more_than(count: int) -> Iterator[None]:
    """Stop a constructor that registers more tensors, or twenty times more modules, in this thread.

    A network of a million blocks takes gigabytes even without data.
    """
    thread = threading.get_ident()
    made = {"tensors": 0, "modules": 0}

    def counting(kind: str, most: int) -> Any:
        def hook(module: nn.Module, name: str, value: Any) -> None:
            if threading.get_ident() == thread:
                made[kind] += 1
                if made[kind] > most:
                    raise ValueError(f"it has more than {most} {kind}, far more than the weights")

        return hook

    tensors, modules = counting("tensors", count), counting("modules", 20 * count)
    with ExitStack() as stack:
        for register, hook in (
            (torch_modules.register_module_parameter_registration_hook, tensors),
            (torch_modules.register_module_buffer_registration_hook, tensors),
            (torch_modules.register_module_module_registration_hook, modules),
        ):
            stack.callback(register(hook).remove)
        yield
