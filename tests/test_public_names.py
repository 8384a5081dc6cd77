"""The contents page."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

import subpath

NAMES = [
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


def test_the_names() -> None:
    assert subpath.__all__ == NAMES
    assert set(NAMES) <= set(dir(subpath))
    for name in NAMES:
        assert getattr(subpath, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        subpath.no_such_name  # noqa: B018


def test_no_module_hides_a_function() -> None:
    """Python sets a module as an attribute of its package when it is first imported."""
    modules = {path.stem for path in Path(subpath.__file__).parent.iterdir()}
    functions = {name for name in NAMES if isinstance(getattr(subpath, name), types.FunctionType)}
    assert not functions & modules
    assert functions > {"calibrate", "convert", "fit", "plan", "save", "load"}
    for name in ("distill", "export", "measure"):
        assert isinstance(getattr(subpath, name), types.ModuleType)


def test_importing_the_package_loads_no_torch() -> None:
    program = "import sys, subpath; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
