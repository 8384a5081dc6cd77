"""Where the modules lie that an adaptive model has and the original has not."""

from __future__ import annotations

from ..planning import Addition, Patch, TwinNorm


def twin_path(twin: TwinNorm) -> str:
    """Where the twin of a norm lives in the adaptive model."""
    return f"twin_norms.{twin.stage}.{twin.path}"


def addition_path(addition: Addition) -> str:
    """Where an addition lives in the adaptive model."""
    return f"additions.{addition.stage}.{addition.path}"


def patch_path(patch: Patch) -> str:
    """Where a patch lives in the adaptive model."""
    return f"patches.{patch.stage}.{patch.number}"
