"""The directory of a run: what may be written, and what a resumed run must agree with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..errors import RunError
from .recipe import Recipe
from .recipe_file import read_recipe, write_recipe
from .results import Summary
from .resume import remove_checkpoints

RECIPE, LOG, SUMMARY, BEST = "recipe.yaml", "log.jsonl", "summary.json", "best"
ADAPTER = "adapter"
BLOCKS = "blocks.json"  # that were chosen to be skipped

# What a run may be resumed with, though it is not what the run began with.
_FREE = ("output", "data.root", "data.workers")


def output_directory(recipe: Recipe, directory: str | os.PathLike[str] | None = None) -> Path:
    """Where a run writes: ``directory``, else the recipe's ``output``, else ``runs/<name>``."""
    return Path(directory or recipe.output or Path("runs") / (recipe.name or "recipe"))


def prepare(folder: Path, recipe: Recipe, overwrite: bool) -> None:
    """Make the directory; what an earlier run left there must not be taken for this run's.

    Raises:
        RunError: there is a run in it and ``overwrite`` is not set, or it cannot be written.
    """
    # A run that failed before its first epoch leaves its recipe alone.
    if folder.is_dir() and any(path.name != RECIPE for path in folder.iterdir()):
        if not overwrite:
            raise RunError(
                f"got the output directory {folder}, which is not empty; expected a new one "
                "(--output DIR), --resume to go on with the run in it, or --overwrite to replace it"
            )
        remove_checkpoints(folder)
        for name in (checkpoint.DESCRIPTION, RECIPE, LOG, SUMMARY, BLOCKS):
            (folder / name).unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write_atomically(folder / RECIPE, write_recipe(recipe))
    except OSError as error:
        raise RunError(
            f"got the output directory {folder}, which cannot be written: {error}"
        ) from error


def check_directory(folder: Path) -> None:
    """Refuse a file.

    Raises:
        RunError: ``folder`` is one.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"got the output {folder}, which is a file; expected a directory")


def check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """Refuse to go on with another recipe than the run in ``folder`` has.

    Raises:
        RunError: keys differ; all are named.
    """
    before = dict(_flat(read_recipe(folder / RECIPE).model_dump(mode="json")))
    now = dict(_flat(recipe.model_dump(mode="json")))
    different = [
        f"  {key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key) and key not in _FREE
    ]
    if different:
        raise RunError(
            f"got --resume with another recipe than the run in {folder} began with; expected the "
            "same, or --overwrite to begin anew\n" + "\n".join(different)
        )


def finished(folder: Path) -> Summary | None:
    """The summary of a run that is done."""
    path = folder / SUMMARY
    return Summary.from_dict(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def append_to_log(folder: Path, record: Mapping[str, Any]) -> None:
    """Add a line."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def shorten_log(folder: Path, done: Mapping[str, int]) -> None:
    """Keep the lines of epochs that are done: ``done`` tells how many of each phase."""
    path = folder / LOG
    if not path.is_file():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:  # the process was killed while it wrote the line
            continue
        if record["epoch"] <= done.get(record["phase"], 0):
            kept.append(line)
    checkpoint.write_atomically(path, "".join(kept))


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
