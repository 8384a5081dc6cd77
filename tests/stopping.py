"""A run that is stopped in the middle."""

from __future__ import annotations

from subpath.finetune.callback import NoCallback


class Stop(Exception):
    """What stops it."""


class Stopping(NoCallback):
    """Stops after the first epoch of the fine-tune."""

    def epoch(self, record):
        if record["phase"] == "finetune":
            raise Stop
