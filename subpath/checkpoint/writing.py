"""Write a model so that the directory holds the old one or the new one, never half of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from .. import zoo
from ..adaptive.model import AdaptiveModel
from ..errors import CheckpointError
from .architecture import check_arguments
from .files import digest, rename, write_atomically
from .format import DESCRIPTION, Architecture, Description, to_json, weights_name
from .state import distinct
from .versions import library_versions


def save(
    model: AdaptiveModel,
    directory: str | os.PathLike[str],
    architecture: Architecture | str | None = None,
    input_size: Sequence[int] | None = None,
) -> None:
    """Write the weights and the plan; what was saved there before is replaced in one step.

    Args:
        model: the adaptive model.
        directory: made if it is not there.
        architecture: how the original is made; with a timm name, ``load`` needs no model.
        input_size: shape of the example input without the batch, to trace the network when it is
            loaded; default: the one of timm's data config.

    Raises:
        CheckpointError: something in the model cannot be written without pickle, or the directory
            cannot be written.
    """
    if isinstance(architecture, str):
        architecture = Architecture(architecture)
    if architecture is not None:
        check_arguments(architecture)
    tensors, shared = distinct(model.state_dict())
    size = input_size or zoo.input_size(model)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = _write_weights(folder, tensors)
        description = Description(
            architecture=architecture,
            input_size=tuple(size) if size else None,
            plan=model.plan,
            weights=weights_name(sha256),
            sha256=sha256,
            shared=shared,
            libraries=library_versions(),
        )
        write_atomically(folder / DESCRIPTION, to_json(description))
        for old in folder.glob(weights_name("?" * 64)):
            if old.name != description.weights:
                old.unlink()
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"got an error while writing to {folder} ({error}); expected a directory that can be "
            "written. What was saved there before is still in place"
        ) from error


def _write_weights(folder: Path, tensors: dict[str, Tensor]) -> str:
    def write(path: Path) -> None:
        save_file(tensors, path, metadata={"format": "pt"})

    # The name holds the digest, which is known once the file is written.
    written = folder / ".weights"
    write_atomically(written, write)
    sha256 = digest(written)
    rename(written, folder / weights_name(sha256))
    return sha256
