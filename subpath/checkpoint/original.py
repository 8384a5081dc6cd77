"""Weights of the plain network: into a converted one, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..adaptive.additions import fresh_addition
from ..adaptive.model import AdaptiveModel
from ..adaptive.module_paths import addition_path, patch_path, twin_path
from ..adaptive.patches import fresh_patch
from ..adaptive.statistics import original_key
from ..adaptive.twins import SKIP_AWARE
from .state import check_keys
from .weights import read_weights


def load_original(model: AdaptiveModel, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Load weights of the original network into a converted one; twins become copies of them.

    Patches and additions are made anew: what they were fitted to is gone.

    Args:
        model: the adaptive model; changed in place.
        weights: a state dict of the original, or a file with one (safetensors, or a PyTorch file
            that holds tensors alone).

    Raises:
        CheckpointError: the file cannot be read, or keys do not fit; every one of them is named
            and nothing is changed.
    """
    source = "the state dict given"
    if not isinstance(weights, Mapping):
        source = str(weights)
        weights = read_weights(weights)
    twinned = {f"{twin.path}.": f"{twin_path(twin)}." for twin in model.plan.twin_norms}
    expected = model.state_dict()
    check_keys(original_state_dict(model), weights, source)
    complete = dict(weights)
    for original, twin in twinned.items():
        for key in expected:
            if key.startswith(twin):
                complete[key] = weights[original + key.removeprefix(twin)]
    for patch in model.plan.patches:
        for key, value in fresh_patch(patch).state_dict().items():
            complete[f"{patch_path(patch)}.{key}"] = value
    for addition in model.plan.additions:
        for key, value in fresh_addition(model, addition).state_dict().items():
            complete[f"{addition_path(addition)}.{key}"] = value
    model.load_state_dict(complete)


def original_state_dict(model: AdaptiveModel) -> dict[str, Tensor]:
    """The super-net's weights under the original's keys, and no others.

    A plain network that loads them (``network.load_state_dict(...)``, strictly) gives the outputs
    of ``model``'s super-net bit for bit. The tensors are the model's own, as in
    ``model.state_dict()``.
    """
    added = tuple(f"{home}." for home in SKIP_AWARE)
    return {
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith(added) and original_key(key, len(model.stages)) is None
    }
