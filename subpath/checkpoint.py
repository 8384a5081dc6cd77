"""Save and load an adaptive model: safetensors weights and one readable JSON file, no pickle.

A directory holds ``subpath.json`` (format version, architecture, input size, plan, versions) and
``model-<digest>.safetensors`` (the state dict). The JSON file names the weights file and is renamed
into place last, so that a directory holds the old model or the new one, whenever a save is
interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import zoo
from .adaptive.gates import twin_path
from .adaptive.model import AdaptiveModel
from .convert import convert
from .errors import CheckpointError, ConversionError, ModelError
from .plan import Plan

DESCRIPTION = "subpath.json"
FORMAT_VERSION = 1

# Arguments that would make timm read other files while it builds the network.
_READS_FILES = ("pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir")


@dataclass(frozen=True)
class Architecture:
    """How the original network is made.

    Attributes:
        name: a timm name, or ``package.module:callable``.
        arguments: keyword arguments for ``timm.create_model`` or the callable; JSON values.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_timm(self) -> bool:
        """Whether timm makes it; such a network is rebuilt from its name alone."""
        return ":" not in self.name


@dataclass(frozen=True)
class Description:
    """What ``subpath.json`` says.

    Attributes:
        architecture: how the original is made; ``None`` if it was not said.
        input_size: shape of the example input without the batch; ``None`` if it was not said.
        plan: how the network is cut.
        weights: name of the weights file in the same directory.
        sha256: digest of the weights file, in hexadecimal.
        shared: keys that are the same tensor as another key: ``{key: key in the weights file}``.
        libraries: versions that wrote it.
    """

    architecture: Architecture | None
    input_size: tuple[int, ...] | None
    plan: Plan
    weights: str
    sha256: str
    shared: Mapping[str, str]
    libraries: Mapping[str, str]


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
        _check_arguments(architecture)
    tensors, shared = _distinct(model.state_dict())
    size = input_size or zoo.input_size(model)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = _write_weights(folder, tensors)
        description = Description(
            architecture=architecture,
            input_size=tuple(size) if size else None,
            plan=model.plan,
            weights=_weights_name(digest),
            sha256=digest,
            shared=shared,
            libraries={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "safetensors": safetensors.__version__,
            },
        )
        write_atomically(folder / DESCRIPTION, _to_json(description))
        for old in folder.glob(_weights_name("?" * 64)):
            if old.name != description.weights:
                old.unlink()
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"got an error while writing to {folder} ({error}); expected a directory that can be "
            "written. What was saved there before is still in place"
        ) from error


def load(
    directory: str | os.PathLike[str],
    model: nn.Module | None = None,
    example_input: Any = None,
) -> AdaptiveModel:
    """Give back the adaptive model that :func:`save` wrote, in eval mode.

    No code is imported because a file names it: a network that is none of timm's must be given.

    Args:
        directory: where it was saved.
        model: a fresh original, unconverted; default: made by timm from the saved name.
        example_input: to trace the network with; default: zeros of the saved input size.

    Raises:
        CheckpointError: files are missing, damaged or foreign, or do not belong to this network;
            every key that does not fit is named.
    """
    description = read_description(directory)
    tensors = _read_weights(Path(directory), description)
    if model is None:
        model = _make(description, directory)
        _take_dtypes(model, tensors)
    if example_input is None and description.input_size is not None:
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        example_input = torch.zeros(2, *description.input_size, dtype=dtype)
    try:
        adaptive = convert(model, example_input, plan=description.plan)
    except (ConversionError, ModelError) as error:
        raise CheckpointError(
            f"got a plan in {Path(directory) / DESCRIPTION} that does not fit the network: {error}"
        ) from error
    check_keys(adaptive.state_dict(), tensors, f"the weights in {directory}")
    adaptive.load_state_dict(tensors)
    return adaptive.eval()


def load_original(model: AdaptiveModel, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Load weights of the original network into a converted one; twins become copies of them.

    Args:
        model: the adaptive model; changed in place.
        weights: a state dict of the original, or a file with one (safetensors, or a PyTorch file
            that holds tensors alone).

    Raises:
        CheckpointError: the file cannot be read, or keys do not fit; every one of them is named
            and nothing is changed.
    """
    source = "the state dict given"
    if not isinstance(weights, Mapping):
        source = str(weights)
        weights = read_weights(weights)
    twinned = {f"{twin.path}.": f"{twin_path(twin)}." for twin in model.plan.twin_norms}
    expected = model.state_dict()
    twins = tuple(twinned.values())
    check_keys({k: v for k, v in expected.items() if not k.startswith(twins)}, weights, source)
    complete = dict(weights)
    for original, twin in twinned.items():
        for key in expected:
            if key.startswith(twin):
                complete[key] = weights[original + key.removeprefix(twin)]
    model.load_state_dict(complete)


def read_description(directory: str | os.PathLike[str]) -> Description:
    """What ``subpath.json`` in ``directory`` says.

    Raises:
        CheckpointError: it is not there, or is not such a file.
    """
    path = Path(directory) / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(
            f"got {directory}, which holds no {DESCRIPTION}; expected a directory that "
            "subpath.save or `subpath finetune` wrote"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"got format version {version!r} in {path}; expected {FORMAT_VERSION}. It was "
                "written by another version of this library"
            )
        architecture = data["architecture"]
        size = data["input_size"]
        description = Description(
            architecture=None
            if architecture is None
            else Architecture(str(architecture["name"]), dict(architecture["arguments"])),
            input_size=None if size is None else tuple(int(n) for n in size),
            plan=Plan.from_dict(data["plan"]),
            weights=str(data["weights"]),
            sha256=str(data["sha256"]),
            shared={str(key): str(value) for key, value in data["shared"].items()},
            libraries=dict(data["libraries"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConversionError) as error:
        raise CheckpointError(
            f"got a file {path} that cannot be read ({type(error).__name__}: {error}); expected "
            "the JSON that subpath.save writes"
        ) from error
    if description.weights != _weights_name(description.sha256):
        raise CheckpointError(
            f"got {description.weights!r} as the weights file in {path}; expected a file in the "
            f"same directory called {_weights_name('<digest>')!r}"
        )
    return description


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of one file: safetensors, or a PyTorch file that holds tensors alone.

    A PyTorch file may hold the state dict itself or have it under ``state_dict`` or ``model``.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"got the weights file {path}, which is not there")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen kinds for a bad file
        raise CheckpointError(
            f"got a weights file {path} that cannot be read ({type(error).__name__}: {error}); "
            "expected a .safetensors file, or a PyTorch file that holds tensors alone"
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"got a file {path} that holds a {type(content).__name__}; expected a state dict"
        )
    return content


def check_keys(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], source: str) -> None:
    """Compare two state dicts.

    Raises:
        CheckpointError: keys, shapes or dtypes differ; every one of them is named.
    """
    missing = [key for key in expected if key not in got]
    unexpected = [key for key in got if key not in expected]
    wrong = [
        f"{key} (got {_form(got[key])}, expected {_form(value)})"
        for key, value in expected.items()
        if key in got and _form(got[key]) != _form(value)
    ]
    problems = [
        f"{kind}: {_listed(keys)}"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("wrong shape or dtype", wrong),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"got {source}, which do not fit this network; expected the same keys, shapes and "
            f"dtypes. {'; '.join(problems)}"
        )


def write_atomically(path: Path, content: str | Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all.

    Args:
        path: the file; replaced if it is there.
        content: the text, or a function that writes the file at the path it is given.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_text(content, encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _to_json(description: Description) -> str:
    return json.dumps({"format_version": FORMAT_VERSION, **asdict(description)}, indent=2) + "\n"


def _weights_name(digest: str) -> str:
    return f"model-{digest[:12]}.safetensors"


def _check_arguments(architecture: Architecture) -> None:
    try:
        json.dumps(dict(architecture.arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"got arguments for {architecture.name} that JSON cannot hold ({error}); expected "
            "numbers, strings, booleans, lists and dicts. Leave the architecture out, and give a "
            "fresh model to subpath.load"
        ) from error
    refused = [name for name in _READS_FILES if architecture.arguments.get(name)]
    if refused:
        raise CheckpointError(
            f"got the arguments {', '.join(refused)} for {architecture.name}; expected none that "
            "read other files: the weights are in the checkpoint"
        )


def _distinct(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to write, each once, and the keys that are one of them under another name."""
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


def _write_weights(folder: Path, tensors: dict[str, Tensor]) -> str:
    digest = ""

    def write(path: Path) -> None:
        nonlocal digest
        save_file(tensors, path, metadata={"format": "pt"})
        digest = _digest(path)

    # The name holds the digest, which is known once the file is written.
    written = folder / ".weights"
    write_atomically(written, write)
    written.replace(folder / _weights_name(digest))
    return digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_weights(folder: Path, description: Description) -> dict[str, Tensor]:
    path = folder / description.weights
    if not path.is_file():
        raise CheckpointError(f"got {folder} without {path.name}, which its {DESCRIPTION} names")
    if _digest(path) != description.sha256:
        raise CheckpointError(
            f"got a damaged weights file {path}: its SHA-256 is not the one in {DESCRIPTION}; "
            "expected the file as it was written. Copy it again, or train again"
        )
    tensors = read_weights(path)
    absent = [key for key in description.shared.values() if key not in tensors]
    if absent:
        raise CheckpointError(f"got {path} without {_listed(absent)}, which other keys share")
    return {**tensors, **{key: tensors[name] for key, name in description.shared.items()}}


def _make(description: Description, directory: str | os.PathLike[str]) -> nn.Module:
    architecture = description.architecture
    if architecture is None or not architecture.is_timm:
        named = (
            "no architecture" if architecture is None else f"the architecture {architecture.name!r}"
        )
        raise CheckpointError(
            f"got {named} in {Path(directory) / DESCRIPTION}; expected a timm name, the only kind "
            "that is built from a file. Make the original network and call "
            "subpath.load(directory, model=network)"
        )
    _check_arguments(architecture)
    try:
        return zoo.create_model(architecture.name, **architecture.arguments)
    except ModelError as error:
        raise CheckpointError(f"the saved architecture cannot be made: {error}") from error


def _take_dtypes(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a fresh network the saved precision (floating-point weights alone)."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        saved = tensors.get(name)
        if saved is not None and saved.is_floating_point() and tensor.is_floating_point():
            tensor.data = tensor.data.to(saved.dtype)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys)
