"""What a directory that ``subpath finetune`` or ``subpath.save`` wrote says about a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..checkpoint.format import to_json
from ..choice import MeasuredTable
from ..errors import CheckpointError
from ..planning import Plan

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Run:
    """A finetuned network on disk.

    Attributes:
        directory: where it is.
        arguments: for the constructor of the original.
        input_size: of one input, if it was saved.
        plan: how the network is cut.
        top1: accuracy in percent for each config that was evaluated.
        measured: what was measured and saved beside the weights.
    """

    directory: Path
    arguments: Mapping[str, Any]
    input_size: tuple[int, ...] | None
    plan: Plan
    top1: Mapping[str, float]
    measured: MeasuredTable | None


def run_directory(path: Path) -> Path | None:
    """The run that ``path`` is, or whose file it is; ``None`` for other files of weights."""
    if path.is_dir():
        return path
    folder = path.parent
    if not (folder / checkpoint.DESCRIPTION).is_file():
        return None
    weights = checkpoint.read_description(folder).weights
    return folder if path.name in (checkpoint.DESCRIPTION, SUMMARY, weights) else None


def read_run(directory: Path, model: str) -> Run:
    """Read a run of the network called ``model``.

    Raises:
        CheckpointError: it is none, or of another network.
    """
    description = checkpoint.verify(directory)
    made = description.architecture
    if made is not None and made.name != model:
        raise CheckpointError(
            f"got the model {model!r}, but {directory} holds a {made.name!r}; expected both to be "
            f"the same: subpath report {made.name} --weights {directory}"
        )
    return Run(
        directory=directory,
        arguments={} if made is None else made.arguments,
        input_size=description.input_size,
        plan=description.plan,
        top1=_accuracies(directory / SUMMARY),
        measured=description.measured,
    )


def save_measured(run: Run, table: MeasuredTable) -> None:
    """Keep what was measured beside the weights, in the place of what was kept before.

    Raises:
        CheckpointError: the directory cannot be written.
    """
    description = checkpoint.read_description(run.directory)
    text = to_json(replace(description, measured=table))
    try:
        checkpoint.write_atomically(run.directory / checkpoint.DESCRIPTION, text)
    except OSError as error:
        raise CheckpointError(
            f"got an error while writing to {run.directory} ({error}); expected a directory that "
            "can be written. What was there is still in place"
        ) from error


def _accuracies(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        entries = checkpoint.read_json(path)["skip"]
        return {
            str(skip): float(entry["top1"]) for skip, entry in entries.items() if "top1" in entry
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"got a file {path} that cannot be read ({type(error).__name__}: {error}); expected "
            'the summary that subpath finetune writes: {"skip": {"FFFF": {"top1": ...}}}'
        ) from error
