"""What a bug report says."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest
import torch

from subpath import environment as module
from subpath.environment import Package, environment
from subpath.errors import TraceError


def test_it_tells_what_is_here() -> None:
    found = environment()
    assert found.python == platform.python_version()
    assert found.threads == torch.get_num_threads()
    versions = {package.name: package.version for package in found.packages}
    assert versions["torch"] == metadata.version("torch")
    assert {"timm", "accelerate", "matplotlib", "onnx"} <= versions.keys()
    assert "pytest" not in versions  # for developers alone
    assert found.devices[0].name == "cpu"
    assert found.ready


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2.6", "timm>=99", "no-such-package>=1.5; extra == 'plot'"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    found = environment()
    assert found.packages == (
        Package("torch", torch.__version__.split("+")[0], ">=2.6", "", True),
        Package("timm", metadata.version("timm"), ">=99", "", False),
        Package("no-such-package", None, ">=1.5", "plot", False),
    )
    assert not found.ready
    lines.remove("timm>=99")
    assert environment().ready  # what an extra brings may be missing


def test_a_device_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TraceError("no such luck")

    monkeypatch.setattr(module, "convert", fail)
    (device,) = environment().devices[:1]
    assert not device.works
    assert device.trouble == "TraceError: no such luck"
