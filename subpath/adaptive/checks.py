"""Checks before the first change: what a conversion would lose without a word."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.utils import parametrize

from ..errors import LostBehaviourError

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_opened(model: nn.Module, opened: Iterable[str]) -> None:
    """Refuse hooks and parametrisations on modules whose forward is traced through.

    Modules that are called whole keep theirs.

    Raises:
        LostBehaviourError: an opened module (or the model itself) has some.
    """
    modules = dict(model.named_modules())
    hooked = [p for p in ("", *opened) if any(vars(modules[p]).get(hook) for hook in _HOOKS)]
    if hooked:
        raise LostBehaviourError(
            f"got hooks on {_names(hooked, model)}; expected none on modules that are opened to "
            "reach their residual adds and norms: the hooks would never be called again. Remove "
            "them, convert, and register them on the result"
        )
    parametrised = [p for p in opened if parametrize.is_parametrized(modules[p])]
    if parametrised:
        raise LostBehaviourError(
            f"got parametrisations on {_names(parametrised, model)}; expected none on modules "
            "that are opened. Make them permanent with "
            "torch.nn.utils.parametrize.remove_parametrizations before you convert"
        )


def _names(paths: list[str], model: nn.Module) -> str:
    shown = [path or f"the {type(model).__name__} itself" for path in paths[:6]]
    return ", ".join(shown) + (f" and {len(paths) - 6} more" if len(paths) > 6 else "")
