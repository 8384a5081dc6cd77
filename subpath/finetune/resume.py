"""Checkpoints of a training that is under way: safetensors and JSON, written whole or not at all.

``resume/<phase>-<updates>-<digest>.safetensors`` holds every tensor, and in its header, as JSON,
all that is no tensor. The digest of the file is in its name. The newest two are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checkpoint import write_atomically
from ..errors import CheckpointError

FOLDER = "resume"
FORMAT = "subpath training 1"
KEPT = 2

_NAME = re.compile(r"\d+-\d+-([0-9a-f]{12})\.safetensors")


def write_checkpoint(directory: Path, phase: int, updates: int, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, then take away all but the newest two.

    Args:
        directory: of the run.
        phase: number of the phase; later phases are newer.
        updates: done in the phase; more is newer.
        state: dicts, lists, tuples, tensors, numbers, strings and ``None``.

    Raises:
        CheckpointError: the disk is full or cannot be written, or the state holds something else.
    """
    folder = directory / FOLDER
    tensors: dict[str, Tensor] = {}
    header = {"format": FORMAT, "state": json.dumps(flatten(state, "", tensors))}
    try:
        folder.mkdir(exist_ok=True)
        unnamed = folder / ".new"
        write_atomically(unnamed, lambda path: save_file(tensors, path, metadata=header))
        unnamed.replace(folder / f"{phase}-{updates:09d}-{_digest(unnamed)}.safetensors")
        for old in _checkpoints(folder)[:-KEPT]:
            old.unlink()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"got an error while writing a checkpoint to {folder} ({error}); expected room on the "
            "disk. The checkpoint before is still in place: make room and go on with --resume"
        ) from error


def read_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The newest checkpoint; ``None`` if there is none.

    Raises:
        CheckpointError: it is damaged, or not such a file.
    """
    found = _checkpoints(directory / FOLDER)
    if not found:
        return None
    path = found[-1]
    older = f" To go on from the one before, {found[-2].name}, delete it" if found[1:] else ""
    named = _NAME.fullmatch(path.name)
    try:
        if named is None or _digest(path) != named[1]:
            raise CheckpointError(
                f"got a damaged checkpoint {path}: its content does not have the digest in its "
                f"name; expected the file as it was written.{older}"
            )
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(
                    f"got {path}, which says {header.get('format')!r}; expected {FORMAT!r}. It is "
                    f"none of the checkpoints that this version of subpath writes.{older}"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        state: dict[str, Any] = restore(json.loads(header["state"]), tensors)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"got a checkpoint {path} that cannot be read ({type(error).__name__}: {error}); "
            f"expected one that subpath finetune wrote.{older}"
        ) from error
    return state


def has_checkpoint(directory: Path) -> bool:
    """Whether the run in ``directory`` can go on from somewhere."""
    return bool(_checkpoints(directory / FOLDER))


def remove_checkpoints(directory: Path) -> None:
    """Take all checkpoints away: the run is done, or begins anew."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors go into ``tensors``, under their paths.

    Raises:
        CheckpointError: there is something that JSON cannot hold.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, Mapping):
        items = [[key, flatten(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {"dict": items}  # a list of pairs: the keys of an optimiser's state are numbers
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(
        f"got a {type(value).__name__} at {path} in the state of the training; expected tensors, "
        "numbers and strings alone, all that can be written without pickle"
    )


def restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The opposite of :func:`flatten`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: restore(item, tensors) for key, item in content}
    items = [restore(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("*.safetensors"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
