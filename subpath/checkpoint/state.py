"""State dicts: compared, and each tensor once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_keys(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], source: str) -> None:
    """Compare two state dicts.

    Raises:
        CheckpointError: keys, shapes or dtypes differ; every one of them is named.
    """
    problems = mismatches(expected, got)
    if problems:
        raise CheckpointError(
            f"got {source}, which do not fit this network; expected the same keys, shapes and "
            f"dtypes. {'; '.join(problems)}"
        )


def mismatches(
    expected: Mapping[str, Tensor], got: Mapping[str, Tensor], any_precision: bool = False
) -> list[str]:
    """How two state dicts differ: one line for each kind, with all keys.

    Args:
        expected: what the network has.
        got: what is to be loaded.
        any_precision: whether floating-point numbers of another width will do.
    """

    def fits(key: str, value: Tensor) -> bool:
        other = got[key]
        same = other.dtype == value.dtype
        floats = any_precision and other.dtype in PRECISIONS and value.dtype in PRECISIONS
        return other.shape == value.shape and (same or floats)

    wrong = [
        f"{shown(key)} (got {_form(got[key])}, expected {_form(value)})"
        for key, value in expected.items()
        if key in got and not fits(key, value)
    ]
    found = {
        "missing": [shown(key) for key in expected if key not in got],
        "unexpected": [shown(key) for key in sorted(got) if key not in expected],
        "wrong shape or dtype": wrong,
    }
    return [f"{kind}: {', '.join(keys)}" for kind, keys in found.items() if keys]


def distinct(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to write, each once, and the keys that are one of them under another name.

    Raises:
        CheckpointError: there is something else than tensors.
    """
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"got a {type(value).__name__} under {key!r} in the state dict; expected tensors "
                "alone, all that can be written without pickle"
            )
        place = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        if value.numel() and place in seen:
            shared[key] = seen[place]
        else:
            seen[place] = key
            # A copy of its own, because safetensors refuses views that overlap.
            tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, shared


def together(tensors: Mapping[str, Tensor], shared: Mapping[str, str]) -> dict[str, Tensor]:
    """The state dict that :func:`distinct` took apart.

    Raises:
        CheckpointError: a tensor that others share is not there.
    """
    absent = sorted({name for name in shared.values() if name not in tensors})
    if absent:
        raise CheckpointError(f"got weights without {listed(absent)}, which other keys share")
    return {**tensors, **{key: tensors[name] for key, name in shared.items()}}


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict, in hexadecimal: of names, dtypes, shapes and numbers."""
    found = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        found.update(f"{key} {_form(tensor)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def shown(name: str) -> str:
    """A name from a file as it can be printed: no control character reaches a terminal."""
    return name if name.isprintable() and name else repr(name)


def listed(names: Iterable[str]) -> str:
    """Names from a file, for an error."""
    return ", ".join(map(shown, names))


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
