"""Everything that knows torchvision's networks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..graph.inputs import Inputs


class Torchvision:
    """torchvision's networks, as a :class:`subpath.zoo.library.Library`."""

    name = "torchvision"
    small = False
    size_arguments: tuple[str, ...] = ("image_size",)
    demanding: Mapping[str, Any] = {
        "dropout": 0.2,
        "attention_dropout": 0.2,
        "stochastic_depth_prob": 0.2,
    }

    # Detectors and the like resize, sort and pair boxes; their backbone is a network as any other.
    _PARTS: Mapping[str, str] = {
        "detection": "backbone",
        "segmentation": "backbone",
        "optical_flow": "feature_encoder",
    }
    _SIZE_OF_PARTS = 320  # no data config tells it; the smallest detectors were trained with it
    _FRAMES = 16  # of a video, if the data config does not ask for more

    @property
    def version(self) -> str:
        return version("torchvision")

    def names(self) -> list[str]:
        from torchvision.models import list_models

        return list(list_models())

    def family(self, name: str) -> str:
        from torchvision.models import get_model_builder

        return str(get_model_builder(name).__module__).removeprefix("torchvision.models.")

    def part(self, name: str) -> str:
        return self._PARTS.get(self.family(name).partition(".")[0], "")

    def make(self, name: str, **arguments: Any) -> nn.Module:
        from torchvision.models import get_model

        part = self.part(name)
        if part == "backbone":
            arguments = {"weights_backbone": None, **arguments}
        try:
            model: nn.Module = get_model(name, weights=None, **arguments)
        except Exception as error:  # constructors fail in many ways
            raise ModelError(
                f"got an error while torchvision made {name!r} with {arguments}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return model.get_submodule(part)

    def inputs(self, name: str, model: nn.Module) -> Inputs:
        from torchvision.models import get_model_weights

        preset = get_model_weights(name).DEFAULT.transforms()
        size = getattr(preset, "crop_size", [self._SIZE_OF_PARTS])
        if hasattr(model, "image_size"):  # a vision transformer takes no other
            size = [model.image_size]
        shape = [3, size[0], size[-1]]
        if self.family(name).startswith("video."):
            shape.insert(1, self._FRAMES)
        return Inputs((torch.empty(2, *shape),))
