"""What timm knows by the names of weights, for adaptive models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ..adaptive.model import AdaptiveModel
from ..adaptive.module_paths import patch_path, twin_path


def original_name(name: str) -> str:
    """The name of a weight's original: ``twin_norms.<stage>.<path>`` goes by ``<path>``."""
    return name.split(".", 2)[2] if name.startswith("twin_norms.") else name


def twin_weights(model: nn.Module) -> set[int]:
    """The ids of the twin norms' weights; none in a network that is not adaptive."""
    if not isinstance(model, AdaptiveModel):
        return set()
    norms = (model.get_submodule(twin_path(twin)) for twin in model.plan.twin_norms)
    return {id(p) for norm in norms for p in norm.parameters()}


def patch_weights(model: nn.Module) -> set[int]:
    """The ids of the patches' weights; none in a network that is not adaptive."""
    if not isinstance(model, AdaptiveModel):
        return set()
    maps = (model.get_submodule(patch_path(patch)) for patch in model.plan.patches)
    return {id(p) for linear in maps for p in linear.parameters()}


class UnderOriginalNames(nn.Module):
    """An adaptive model whose twins go by their originals' names: the names timm's layers know."""

    def __init__(self, model: AdaptiveModel) -> None:
        super().__init__()
        vars(self)["_model"] = model

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's, a twin's weight under the name of its original's."""
        for name, parameter in self._model.named_parameters(*args, **kwargs):
            yield original_name(name), parameter

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_model"], name)


def classifier_weights(model: nn.Module) -> set[int]:
    """The ids of a timm model's classifier's weights, which adaptive clipping must spare."""
    get_classifier = getattr(model, "get_classifier", None)
    found = get_classifier() if callable(get_classifier) else ()
    heads = found if isinstance(found, (tuple, list)) else (found,)
    return {id(p) for head in heads if isinstance(head, nn.Module) for p in head.parameters()}
