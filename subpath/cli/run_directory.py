"""What a directory that ``subpath finetune`` or ``subpath.save`` wrote says about a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..choice import MeasuredTable
from ..errors import CheckpointError
from ..plan import Plan

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Run:
    """A finetuned network on disk.

    Attributes:
        arguments: for the constructor of the original.
        input_size: of one input, if it was saved.
        plan: how the network is cut.
        top1: accuracy in percent for each config that was evaluated.
        measured: what was measured and saved beside the weights.
    """

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
    description = checkpoint.read_description(directory)
    made = description.architecture
    if made is not None and made.name != model:
        raise CheckpointError(
            f"got the model {model!r}, but {directory} holds a {made.name!r}; expected both to be "
            f"the same: subpath report {made.name} --weights {directory}"
        )
    return Run(
        arguments={} if made is None else made.arguments,
        input_size=description.input_size,
        plan=description.plan,
        top1=_accuracies(directory / SUMMARY),
        measured=description.measured,
    )


def _accuracies(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["skip"]
        return {str(skip): float(entry["top1"]) for skip, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"got a file {path} that cannot be read ({type(error).__name__}: {error}); expected "
            'the summary that subpath finetune writes: {"skip": {"FFFF": {"top1": ...}}}'
        ) from error
