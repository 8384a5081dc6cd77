"""What a task is: all that a run asks of what it learns. The engine knows no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from torch import nn

from ...checkpoint import Architecture
from ...distill import Outputs
from ...errors import RecipeError
from ..config_runner import in_single
from ..criterion import Criterion, Mix
from ..loader import Batches, Place, SeededBatches
from ..metrics import Measure
from ..phase import PhaseSection
from ..recipe import Recipe

Own = TypeVar("Own", bound="Task")


class Task(ABC):
    """Data, loss, outputs and metrics of a run.

    Attributes:
        metric: the metric that tells the best epoch.
        rising: whether more of it is better.
        padding: name of the input, ``(batch, tokens)``, that is true at the tokens that count;
            stage outputs are pooled over these. ``None``: over all.
    """

    metric: ClassVar[str]
    rising: ClassVar[bool] = True
    padding: ClassVar[str | None] = None

    @abstractmethod
    def architecture(self, recipe: Recipe) -> Architecture:
        """How the network is made: the recipe's arguments, and what the data asks for."""

    def fitted(self: Own, network: nn.Module) -> Own:
        """The task for a network that asks for data of a certain form."""
        return self

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """Of one input, where it is a tensor of numbers; kept beside the weights."""
        return None

    @property
    def outputs(self) -> Outputs | None:
        """How the outputs of base-net and super-net are compared.

        ``None``: as names and shapes tell (:func:`subpath.distill.outputs_of`).
        """
        return None

    @property
    def heard(self) -> tuple[str, ...]:
        """Paths of modules whose outputs are learned from too, where the network's are not enough.

        :meth:`read` is then given a :class:`.config_runner.Heard` in training.
        """
        return ()

    @abstractmethod
    def example(self, batch: int) -> Any:
        """Inputs of the form that the network takes, of no meaning; several are a dict."""

    def example_to_load(self) -> Any:
        """What a saved network is traced with; ``None``: zeros of the saved input size."""
        return None

    @abstractmethod
    def training_batches(
        self, batch_size: int, seeds: tuple[int, ...], place: Place
    ) -> SeededBatches:
        """Batches to learn from: pairs of inputs and targets, in an order drawn from ``seeds``."""

    @abstractmethod
    def validation_batches(self, batch_size: int, place: Place) -> Batches:
        """This process's share of the validation data."""

    @abstractmethod
    def unaugmented_batches(self, batch_size: int, count: int, seed: int, place: Place) -> Batches:
        """``count`` training batches as they are in evaluation, the same on every process."""

    def mix(self, phase: PhaseSection) -> Mix:
        """What is done to a batch as a whole."""
        if phase.mixup is not None:
            raise RecipeError("got mixup for a task other than classification; expected none")
        return lambda inputs, targets: (inputs, targets)

    @abstractmethod
    def criterion(self, phase: PhaseSection) -> Criterion:
        """The loss, a mean over the batch; it takes what :meth:`read` gives, and the targets."""

    def read(self, output: Any) -> Any:
        """A network's output as criterion, outputs and measure take it, in single precision."""
        return in_single(output)

    @abstractmethod
    def measure(self) -> Measure:
        """Counts the metrics of one network, from the beginning."""
