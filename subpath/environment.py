"""What this library runs with here: versions, devices, threads; and whether it works."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch
from packaging.requirements import Requirement

from . import zoo
from .conversion import convert

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
FOR_DEVELOPERS = ("dev", "docs")


@dataclass(frozen=True)
class Package:
    """A package that the library uses.

    Attributes:
        name: as pip knows it.
        version: that is installed; ``None`` if it is not.
        expected: which versions the library works with, as ``>=2.6``.
        extra: the extra that asks for it; ``""`` if the library cannot do without.
        fits: whether an expected version is installed.
    """

    name: str
    version: str | None
    expected: str
    extra: str
    fits: bool


@dataclass(frozen=True)
class Device:
    """Where networks can run.

    Attributes:
        name: for torch, as ``cuda:0``.
        model: of the hardware.
        works: whether a small network could be converted and run on it.
        trouble: why not.
    """

    name: str
    model: str
    works: bool
    trouble: str = ""


@dataclass(frozen=True)
class Environment:
    """What a bug report should say.

    Attributes:
        subpath: version of this library.
        python: version of Python.
        system: operating system and processor.
        threads: of torch, for one operation.
        cores: of the processors, as this process may use them.
        variables: of the environment, as far as they are set: threads and visible devices.
        packages: those the library needs, then those of its extras.
        devices: the CPU, then accelerators.
    """

    subpath: str
    python: str
    system: str
    threads: int
    cores: int
    variables: Mapping[str, str]
    packages: tuple[Package, ...]
    devices: tuple[Device, ...]

    @property
    def ready(self) -> bool:
        """Whether every needed package fits and every device works."""
        needed = all(package.fits for package in self.packages if not package.extra)
        outdated = any(package.version and not package.fits for package in self.packages)
        return needed and not outdated and all(device.works for device in self.devices)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and dicts."""
        return {**asdict(self), "ready": self.ready}


def environment() -> Environment:
    """Look around; a small network is converted and run on each device, which takes a second."""
    return Environment(
        subpath=_version("subpath") or "not installed",
        python=platform.python_version(),
        system=platform.platform(),
        threads=torch.get_num_threads(),
        cores=_cores(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        packages=tuple(_packages()),
        devices=tuple(_devices()),
    )


def _packages() -> Iterator[Package]:
    try:
        lines = metadata.requires("subpath") or []
        extras = metadata.metadata("subpath").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return
    for requirement in map(Requirement, lines):
        extra = _extra(requirement, extras)
        if requirement.name == "subpath" or extra is None or extra in FOR_DEVELOPERS:
            continue
        version = _version(requirement.name)
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        yield Package(requirement.name, version, str(requirement.specifier), extra, fits)


def _extra(requirement: Requirement, extras: Sequence[str]) -> str | None:
    """The first extra with the requirement, ``""`` if it is always required."""
    marker = requirement.marker
    return next((e for e in ("", *extras) if not marker or marker.evaluate({"extra": e})), None)


def _devices() -> Iterator[Device]:
    yield _tried("cpu", platform.processor() or platform.machine())
    if not torch.accelerator.is_available():
        return
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    for index in range(torch.accelerator.device_count()):
        name = f"{kind.type}:{index}"
        model = kind.type
        if kind.type == "cuda":  # AMD's are called so too
            properties = torch.cuda.get_device_properties(index)
            model = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        yield _tried(name, model)


def _tried(device: str, model: str) -> Device:
    """The device, after a small network was converted and run on it with and without a skip."""
    try:
        network = zoo.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=4)
        images = torch.zeros(2, 3, 32, 32, device=device)
        adaptive = convert(network.eval().to(device), images)
        with torch.no_grad():
            for skip in ("FFFF", "TTTT"):
                adaptive(images, skip=skip)
    except Exception as error:  # whatever is wrong here is what is asked for
        return Device(device, model, works=False, trouble=f"{type(error).__name__}: {error}")
    return Device(device, model, works=True)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    if sys.platform == "linux":  # containers and schedulers may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
