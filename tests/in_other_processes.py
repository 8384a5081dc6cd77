"""What the tests of sending run in other processes, which have to be able to import it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

import subpath


def outputs_of(model: subpath.AdaptiveModel, x: Tensor) -> dict[str, Tensor]:
    """What every config gives for ``x``, and what it gives without being told one."""
    with torch.no_grad():
        found = {str(skip): model(x, skip=skip) for skip in model.skip_configs()}
        return {**found, "": model(x)}


def answer(received: Any, sent: Any, x: Tensor) -> None:
    """Run the model that comes through a queue, then change one of its weights."""
    model = received.get()
    sent.put(outputs_of(model, x))
    with torch.no_grad():
        next(model.parameters()).zero_()
    sent.put("changed")
    received.get()  # the memory that was sent must live until it was read


class Featured(Dataset[Tensor]):
    """A data set that runs a model on what it gives."""

    def __init__(self, model: subpath.AdaptiveModel, inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Tensor:
        torch.set_num_threads(1)
        with torch.no_grad():
            found: Tensor = self.model(self.inputs[index : index + 1], skip="T" * self.stages)
        return found

    @property
    def stages(self) -> int:
        return len(self.model.stages)
