"""The model as the step wants it, with the loss that the Trainer computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ...adaptive.in_place import InPlaceModel
from ...adaptive.model import Passing
from ...errors import SubpathError
from ...planning import StagePlan
from .places import is_pair, vectors


class TrainerRunner:
    """What :func:`subpath.distill.two_pass_step` trains.

    Args:
        trainer: a :class:`.trainer.TwoPassTrainer`, which computes the loss.
        model: the adaptive model.
        items: what ``compute_loss`` divides the loss by; ``None``: it is a mean.
        for_all: the other configs' own losses are wanted too.
    """

    def __init__(self, trainer: Any, model: InPlaceModel, items: Any, for_all: bool) -> None:
        self.stages: Sequence[StagePlan] = model.stages
        self.original_frozen = model.original_frozen
        self._trainer, self._model, self._items = trainer, model, items
        # An own compute_loss may change the inputs, and a decoder may make its own of the labels.
        plain = type(trainer).compute_loss.__module__.startswith("transformers.")
        self._loss_for_all = for_all or not plain or is_pair(model)

    def forward_features_of_stages(
        self, *, skip: str, **inputs: Any
    ) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """A config's output, with the Trainer's loss, and a vector a sample for each stage.

        Where the loss of a config is not wanted, it is not computed.
        """
        call = _Call(self._model, skip)
        if "T" in skip and not self._loss_for_all:
            labels = self._trainer.label_names
            output = call(**{key: value for key, value in inputs.items() if key not in labels})
            return output, vectors(self._model, self.stages, call.features, inputs)
        loss, output = self._trainer.compute_loss(
            call, dict(inputs), return_outputs=True, num_items_in_batch=self._items
        )
        if not isinstance(output, Mapping):
            raise SubpathError(
                f"got an output of type {type(output).__name__} of {type(self._model).__name__}; "
                "expected one with names (return_dict=True in its config)"
            )
        found = vectors(self._model, self.stages, call.features, inputs)
        return {**output, "loss": self._trainer.share_of_update(loss, self._items)}, found

    @contextmanager
    def sharing(self) -> Iterator[Passing]:
        """Several passes over one batch: each by itself, as the network runs in place."""
        yield self.forward_features_of_stages


class _Call:
    """The model as ``compute_loss`` calls it: one config, whose stage outputs are kept."""

    def __init__(self, model: InPlaceModel, skip: str) -> None:
        self._model, self._skip = model, skip
        self.features: tuple[Tensor, ...] = ()

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        output, self.features = self._model.forward_features_of_stages(
            *args, skip=self._skip, **inputs
        )
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
