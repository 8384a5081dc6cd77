"""Twin norms: copies of the norms of mandatory sub-paths, used when their stage is skipped."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from ..errors import ConversionError
from ..planning import TwinNorm
from .module_paths import twin_path

# Where in a network the parameters lie that the original does not have.
SKIP_AWARE = ("twin_norms", "patches", "additions")


class Store(nn.Module):
    """Holds modules that the network does not call by itself.

    A network that runs its children one after the other (``nn.Sequential``) passes through it.
    """

    def forward(self, x: Any) -> Any:
        """Give ``x`` back."""
        return x


def put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put ``module`` into ``root`` at ``path``; what lies on the way is made where it lacks."""
    *containers, name = path.split(".")
    owner = root
    for container in containers:
        if container not in owner._modules:
            owner.add_module(container, Store().train(root.training))
        owner = owner.get_submodule(container)
    owner.add_module(name, module)


def add_twins(root: nn.Module, twins: Iterable[TwinNorm]) -> None:
    """Put a deep copy of each norm into ``root``, under ``twin_norms.<stage>.<path>``.

    A copy, not a new norm: there are dozens of norm classes, some with activation inside. It
    starts with the original's weights and statistics, so a fresh base-net is the original with its
    skippable blocks taken out (skip-aware normalisation: Kang and Lee, section 3.1).

    Raises:
        ConversionError: ``root`` already has an attribute ``twin_norms``.
    """
    if hasattr(root, "twin_norms"):
        raise ConversionError(
            f"got a {type(root).__name__} with an attribute 'twin_norms'; expected that name to "
            "be free. Rename it, or convert with twin_norms='none'"
        )
    for twin in twins:
        put(root, twin_path(twin), copy.deepcopy(root.get_submodule(twin.path)))
