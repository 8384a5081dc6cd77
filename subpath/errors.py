"""Every error a user can cause, in one tree.

Each message says what was got, what was expected, and what to try next. The command line catches
:class:`SubpathError` alone, prints the message and exits with status 2; anything else is our bug.
"""

from __future__ import annotations


class SubpathError(Exception):
    """Root of every error this library raises on purpose."""


class SkipConfigError(SubpathError, ValueError):
    """A skip config is not a string of ``T`` and ``F``, or has the wrong length."""


class ModelError(SubpathError):
    """A model cannot be made or does not accept the input it is given."""


class ConversionError(SubpathError):
    """A model cannot be converted; the caller's model is as it was."""


class TraceError(ConversionError):
    """The model's forward cannot be turned into a graph, or does not run."""


class NoResidualError(ConversionError):
    """The graph holds no stage with two or more blocks, one of them with an identity shortcut.

    Attributes:
        hidden: paths of the modules that could not be looked into.
    """

    def __init__(self, message: str, hidden: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.hidden = hidden


class LostBehaviourError(ConversionError):
    """Hooks or parametrisations of an opened module would be lost without a word."""


class PlanError(ConversionError):
    """A plan, or the arguments that ask for one, does not fit the network."""


class MisreadError(ConversionError):
    """A converted network does not give what the original gives; it is not handed out."""


class RecipeError(SubpathError):
    """A recipe has unknown keys, wrong types or impossible values (all are listed at once)."""


class CheckpointError(SubpathError):
    """A checkpoint is missing, damaged, or made for another network."""


class RunError(SubpathError):
    """A run cannot begin or go on: its directory is taken, or its loss is not a number."""


class DataError(SubpathError):
    """A data set is missing or does not have the expected form."""


class MeasureError(SubpathError):
    """A number cannot be measured."""


class ChoiceError(SubpathError):
    """No skip config fits a budget, or a table of measurements does not say what it should."""


class ExportError(SubpathError):
    """A network cannot be written in another format, or what was written computes otherwise."""


class PlotError(SubpathError):
    """A figure cannot be drawn or written."""


class SweepError(SubpathError):
    """A sweep over many networks cannot begin or go on."""
