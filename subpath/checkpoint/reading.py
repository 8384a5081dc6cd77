"""Give back the model that was saved; a directory may be anyone's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive.model import AdaptiveModel
from ..adaptive.statistics import configs_in
from ..conversion import convert
from ..errors import CheckpointError, ConversionError, ModelError
from .architecture import check_arguments, with_data, without_data
from .compatibility import unfit
from .files import check_inside, digest
from .format import DESCRIPTION, Description
from .hub import PREFIX, download
from .schema import check
from .state import check_keys, digest_of, together
from .strict_json import read_json
from .versions import written_with
from .weights import read_weights


def load(
    directory: str | os.PathLike[str],
    model: nn.Module | None = None,
    example_input: Any = None,
) -> AdaptiveModel:
    """Give back the adaptive model that :func:`save` wrote, in eval mode.

    No code is imported because a file names it: a network that is none of timm's must be given.
    Nothing of the size that a file asks for is made before it is known to be that of the weights.

    Args:
        directory: where it was saved; or ``hf-hub:owner/name``, with ``@revision`` or without, a
            model on the Hugging Face Hub (needs the extra ``hub``).
        model: a fresh original, unconverted; default: made by timm from the saved name.
        example_input: to trace the network with; default: zeros of the saved input size.

    Raises:
        CheckpointError: files are missing, damaged or foreign, or do not belong to this network;
            every block, norm and key that does not fit is named. Or the Hub cannot be reached.
    """
    if str(directory).startswith(PREFIX):
        return read_model(*download(str(directory)), model, example_input)
    return read_model(Path(directory), Path(directory), model, example_input)


def read_model(
    folder: Path, root: Path, model: nn.Module | None = None, example_input: Any = None
) -> AdaptiveModel:
    """As :func:`load`, from a directory whose files may be links to others in ``root``.

    Raises:
        CheckpointError: as there.
    """
    description = _read(folder, root)
    if description.original is not None:
        raise CheckpointError(
            f"got {folder}, which holds an adapter; expected a whole model. Call "
            "subpath.load_adapter(original, directory)"
        )
    tensors = _tensors(folder, root, description)
    made = description.architecture
    own = model is None
    if model is None:
        if made is None or not made.is_timm:
            raise CheckpointError(
                f"got {'no architecture' if made is None else f'the architecture {made.name!r}'} "
                f"in {folder / DESCRIPTION}; expected a timm name, the only kind that is built "
                "from a file. Make the original network and call "
                "subpath.load(directory, model=network)"
            )
        model = without_data(made, tensors)
    _check_fit(folder, model, description, tensors, any_precision=own)
    if own:
        assert made is not None
        model = with_data(made, tensors)
    return _converted(folder, model, description, tensors, example_input)


def load_adapter(
    original: nn.Module,
    directory: str | os.PathLike[str],
    example_input: Any = None,
    *,
    share: bool = False,
) -> AdaptiveModel:
    """Put what :func:`save_adapter` wrote onto the original network.

    Args:
        original: the network, with the weights that it had when the adapter was made; it is left
            as it was.
        directory: where the adapter was saved; or ``hf-hub:owner/name``, with ``@revision`` or
            without, one on the Hugging Face Hub (needs the extra ``hub``).
        example_input: to trace the network with; default: zeros of the saved input size.
        share: use the original's own tensors instead of copies, so that many adapters of one
            network need its memory once.

    Returns:
        The adaptive model, in eval mode.

    Raises:
        CheckpointError: files are missing, damaged or foreign, do not belong to this network, or
            its weights are not those that the adapter was made for.
    """
    folder = root = Path(directory)
    if str(directory).startswith(PREFIX):
        folder, root = download(str(directory))
    description = _read(folder, root)
    if description.original is None:
        raise CheckpointError(
            f"got {folder}, which holds a whole model; expected an adapter. Call "
            "subpath.load(directory)"
        )
    state = original.state_dict()
    tensors = {**state, **_tensors(folder, root, description)}
    _check_fit(folder, original, description, tensors, any_precision=False)
    found = digest_of(state)
    if found != description.original:
        raise CheckpointError(
            f"got a {type(original).__name__} whose weights have the digest {found[:12]}; expected "
            f"those that the adapter in {folder} was made for ({description.original[:12]}), to "
            "the last bit and in the same precision. Load the original's weights first; if it was "
            "trained together with the adapter, save the whole model instead"
        )
    return _converted(folder, original, description, tensors, example_input, share)


def _converted(
    folder: Path,
    model: nn.Module,
    description: Description,
    tensors: Mapping[str, Tensor],
    example_input: Any,
    assign: bool = False,
) -> AdaptiveModel:
    """The network, cut as the description says, with ``tensors``: copied, or themselves."""
    if example_input is None and description.input_size is not None:
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        example_input = torch.zeros(2, *description.input_size, dtype=dtype)
    try:
        adaptive = convert(model, example_input, plan=description.plan)
    except (ConversionError, ModelError) as error:
        raise CheckpointError(
            f"got a plan in {folder / DESCRIPTION} that does not fit the network: {error}. "
            f"{written_with(description.libraries)}"
        ) from error
    adaptive.prepare_statistics(configs_in(tensors, len(description.plan.stages)))
    check_keys(adaptive.state_dict(), tensors, f"the weights in {folder}")
    adaptive.load_state_dict(tensors, assign=assign)
    adaptive.measured = description.measured
    return adaptive.eval()


def verify(directory: str | os.PathLike[str]) -> Description:
    """What ``subpath.json`` says, once it is known to be true of the weights beside it.

    Nothing is made but on the meta device. Of a network that is none of timm's nothing is made at
    all: whoever makes it checks it.

    Raises:
        CheckpointError: as :func:`load`.
    """
    folder = Path(directory)
    description = _read(folder, folder)
    if description.original is not None:
        raise CheckpointError(
            f"got {folder}, which holds an adapter; expected a whole model, as subpath.save or "
            "`subpath finetune` writes it (an adapter of a run lies inside the run's directory)"
        )
    tensors = _tensors(folder, folder, description)
    made = description.architecture
    if made is not None and made.is_timm:
        network = without_data(made, tensors)
        _check_fit(folder, network, description, tensors, any_precision=True)
    return description


def read_description(directory: str | os.PathLike[str]) -> Description:
    """What ``subpath.json`` in ``directory`` says.

    Raises:
        CheckpointError: it is not there, or is not such a file; every problem is named.
    """
    return _read(Path(directory), Path(directory))


def _read(folder: Path, root: Path) -> Description:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(
            f"got {folder}, which holds no {DESCRIPTION}; expected a directory that "
            "subpath.save or `subpath finetune` wrote"
        )
    check_inside(path, root)
    try:
        description = check(read_json(path))
    except (OSError, ValueError, ConversionError) as error:
        raise CheckpointError(
            f"got a file {path} that cannot be read ({error}); expected the JSON that "
            "subpath.save writes"
        ) from error
    if description.architecture is not None:
        check_arguments(description.architecture)
    return description


def _check_fit(
    folder: Path,
    network: nn.Module,
    description: Description,
    tensors: Mapping[str, Tensor],
    any_precision: bool,
) -> None:
    problems = unfit(network, description.plan, tensors, any_precision)
    if problems:
        raise CheckpointError(
            f"got the model in {folder}, which does not fit this {type(network).__name__}; "
            "expected the network that it was made from, with the same modules, keys, shapes and "
            f"dtypes. {'; '.join(problems)}. {written_with(description.libraries)}"
        )


def _tensors(folder: Path, root: Path, description: Description) -> dict[str, Tensor]:
    path = folder / description.weights
    if not path.is_file():
        raise CheckpointError(
            f"got {folder} without the file {path.name}, which its {DESCRIPTION} names; expected "
            "both. Copy the whole directory again"
        )
    check_inside(path, root)
    if digest(path) != description.sha256:
        raise CheckpointError(
            f"got a damaged weights file {path}: its SHA-256 is not the one in {DESCRIPTION}; "
            "expected the file as it was written. Copy it again, or train again"
        )
    return together(read_weights(path), description.shared)
