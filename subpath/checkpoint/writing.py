"""Write a model so that the directory holds the old one or the new one, never half of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from ..adaptive.internals import example_for
from ..adaptive.model import AdaptiveModel
from ..errors import CheckpointError
from .architecture import check_arguments, recorded
from .files import digest, rename, write_atomically
from .format import DESCRIPTION, Architecture, Description, to_json, weights_name
from .original import original_state_dict
from .state import digest_of, distinct
from .versions import library_versions


def save(
    model: AdaptiveModel,
    directory: str | os.PathLike[str],
    architecture: Architecture | str | None = None,
    input_size: Sequence[int] | None = None,
) -> None:
    """Write weights, plan and measured table; what was saved there before is replaced in one step.

    Args:
        model: the adaptive model, with a table in ``model.measured`` or without.
        directory: made if it is not there.
        architecture: how the original is made; with a timm name, ``load`` needs no model. Default:
            as timm recorded it, if timm made it and it was not changed since.
        input_size: shape of the example input without the batch, to trace the network when it is
            loaded; default: that of the conversion.

    Raises:
        CheckpointError: something in the model cannot be written without pickle, the measured
            table is for another number of stages, or the directory cannot be written.
    """
    write_model(model, Path(directory), architecture, input_size)


def save_adapter(
    model: AdaptiveModel,
    directory: str | os.PathLike[str],
    architecture: Architecture | str | None = None,
    input_size: Sequence[int] | None = None,
) -> None:
    """Write what the original does not have: twin norms, patches, plan and measured table.

    :func:`load_adapter` puts it onto the original again, if that has the weights that it has now,
    whose digest is written too.

    Args:
        model: as for :func:`save`. If it was trained, the original was frozen
            (:meth:`subpath.AdaptiveModel.freeze_original`); else save the whole model.
        directory: as there.
        architecture: as there.
        input_size: as there.

    Raises:
        CheckpointError: as there.
    """
    write_model(model, Path(directory), architecture, input_size, adapter=True)


def write_model(
    model: AdaptiveModel,
    folder: Path,
    architecture: Architecture | str | None,
    input_size: Sequence[int] | None,
    adapter: bool = False,
) -> Description:
    """As :func:`save` or :func:`save_adapter`; returns what the description says.

    Raises:
        CheckpointError: as there.
    """
    if isinstance(architecture, str):
        architecture = Architecture(architecture)
    if architecture is None:
        architecture = recorded(model)
    else:
        check_arguments(architecture)
    table, stages = model.measured, len(model.stages)
    if table is not None and len(table.configs[0].skip) != stages:
        raise CheckpointError(
            f"got a measured table of the configs {table.configs[0].skip}, ...; expected configs "
            f"of {stages} letters, one for each stage of this model"
        )
    original = original_state_dict(model)
    state = model.state_dict()
    if adapter:
        state = {key: value for key, value in state.items() if key not in original}
    tensors, shared = distinct(state)
    size = input_size or _size_of_numbers(model)
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
            measured=table,
            original=digest_of(original) if adapter else None,
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
    return description


def _size_of_numbers(model: AdaptiveModel) -> tuple[int, ...]:
    """Of one example input; none where it was tokens, which zeros of its size would not be."""
    shape = model.input_shape
    if shape is None or not example_for(model).args[0].is_floating_point():
        return ()
    return shape[1:]


def _write_weights(folder: Path, tensors: dict[str, Tensor]) -> str:
    def write(path: Path) -> None:
        save_file(tensors, path, metadata={"format": "pt"})

    # The name holds the digest, which is known once the file is written.
    written = folder / ".weights"
    write_atomically(written, write)
    sha256 = digest(written)
    rename(written, folder / weights_name(sha256))
    return sha256
