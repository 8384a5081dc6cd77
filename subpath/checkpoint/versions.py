"""The libraries that wrote a file, and those that read it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import torch

LIBRARIES = ("subpath", "torch", "timm", "safetensors")


def library_versions() -> dict[str, str]:
    """Versions of what is at work here."""
    versions = {name: _version(name) for name in LIBRARIES}
    # torch itself knows more than its package: whether it is the build for CUDA.
    return {"python": platform.python_version(), **versions, "torch": str(torch.__version__)}


def written_with(libraries: Mapping[str, str]) -> str:
    """A sentence on who wrote a file and who reads it, for errors."""
    here = library_versions()
    wrote = ", ".join(f"{name} {libraries.get(name, 'unknown')}" for name in LIBRARIES[:3])
    reads = ", ".join(f"{name} {here[name]}" for name in LIBRARIES[:3])
    return f"Written with {wrote}; read with {reads if reads != wrote else 'the same'}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
