"""Whether two modules are alike on the outside, whatever norm, activation or kernel they have."""

from __future__ import annotations

from torch import nn

from .behaviour import is_normalisation

_LISTS = (nn.Sequential, nn.ModuleList)


def alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have one class, and a part with weights that is alike in both.

    Norms and what has no weights are left out. So two wrappers are not alike if one holds a
    convolution and the other an MLP.
    """
    if type(one) is not type(other):
        return False
    mine, others = _weighted(one), _weighted(other)
    if type(one) in _LISTS:
        pairs = zip(mine.values(), others.values(), strict=False)
        return len(mine) == len(others) and all(alike(*pair) for pair in pairs)
    common = mine.keys() & others.keys()
    return not (mine or others) or any(alike(mine[name], others[name]) for name in common)


def _weighted(module: nn.Module) -> dict[str, nn.Module]:
    """The children with weights that are no norms."""
    return {
        name: child
        for name, child in module.named_children()
        if any(True for _ in child.parameters()) and not is_normalisation(child)
    }
