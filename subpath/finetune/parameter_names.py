"""What timm knows by the names of weights, for adaptive models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ..adaptive.model import AdaptiveModel


def original_name(name: str) -> str:
    """The name of a weight's original: ``twin_norms.<stage>.<path>`` goes by ``<path>``."""
    return name.split(".", 2)[2] if name.startswith("twin_norms.") else name


def skip_aware_weights(model: nn.Module, home: str) -> set[int]:
    """The ids of the weights under ``twin_norms`` or ``patches``; none unless it is adaptive."""
    if not isinstance(model, AdaptiveModel):
        return set()
    named = model.skip_aware_parameters()
    return {id(parameter) for name, parameter in named if name.partition(".")[0] == home}


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
