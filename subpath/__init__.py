"""Adaptive depth for any residual network: convert, fine-tune, choose a depth for each call.

This page lists the public names. Each is loaded when it is first used, so that the command line
can show its help without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import distill, export, measure
    from .adaptive.model import AdaptiveModel
    from .adaptive.sending import sendable
    from .calibration import calibrate
    from .checkpoint import (
        load,
        load_adapter,
        load_original,
        original_state_dict,
        push_to_hub,
        save,
        save_adapter,
    )
    from .conversion import convert, plan
    from .errors import SubpathError
    from .fitting import fit
    from .planning import Plan, StagePlan, TwinNorm
    from .skip import SkipConfig, skip_configs

    __version__: str

__all__ = [
    "AdaptiveModel",
    "Plan",
    "SkipConfig",
    "StagePlan",
    "SubpathError",
    "TwinNorm",
    "__version__",
    "calibrate",
    "convert",
    "distill",
    "export",
    "fit",
    "load",
    "load_adapter",
    "load_original",
    "measure",
    "original_state_dict",
    "plan",
    "push_to_hub",
    "save",
    "save_adapter",
    "sendable",
    "skip_configs",
]

_HOME = {
    "AdaptiveModel": ".adaptive.model",
    "Plan": ".planning",
    "SkipConfig": ".skip",
    "StagePlan": ".planning",
    "SubpathError": ".errors",
    "TwinNorm": ".planning",
    "calibrate": ".calibration",
    "convert": ".conversion",
    "fit": ".fitting",
    "load": ".checkpoint",
    "load_adapter": ".checkpoint",
    "load_original": ".checkpoint",
    "original_state_dict": ".checkpoint",
    "plan": ".conversion",
    "push_to_hub": ".checkpoint",
    "save": ".checkpoint",
    "save_adapter": ".checkpoint",
    "sendable": ".adaptive.sending",
    "skip_configs": ".skip",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("subpath")
        except PackageNotFoundError:  # a checkout that is not installed
            return "unknown"
    if name in ("distill", "export", "measure"):
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
