"""``subpath doctor``: what a bug report should say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from . import options
from .output import only_results_on_stdout, said, show_json

if TYPE_CHECKING:
    from ..environment import Environment


def doctor(json: options.Json = False) -> None:
    """Show versions, devices and threads, and try a conversion on each device.

    Paste the output into a bug report. The exit status is 1 if a package is missing or too old, or
    if a device does not work.
    """
    with only_results_on_stdout():
        from ..environment import environment  # torch and timm take a second: not for --help

        found = environment()
    if json:
        show_json(found.to_dict())
    else:
        said("\n".join(_lines(found)))
    if not found.ready:
        sys.exit(1)


def _lines(found: Environment) -> Iterator[str]:
    yield f"subpath  {found.subpath}"
    yield f"python   {found.python}"
    yield f"system   {found.system}"
    yield f"threads  {found.threads} of torch, {found.cores} cores"
    for name, value in found.variables.items():
        yield f"         {name}={value}"
    yield "devices"
    for device in found.devices:
        state = "works" if device.works else f"does not work: {device.trouble}"
        yield f"  {device.name}  {device.model}: {state}"
    # Of libraries whose networks are converted, those that are here are enough.
    packages = [p for p in found.packages if p.version is not None or p.extra != "libraries"]
    width = max((len(package.name) for package in packages), default=0)
    for extra, group in groupby(packages, key=lambda package: package.extra):
        yield f"extra {extra}: pip install 'subpath[{extra}]'" if extra else "packages"
        for package in group:
            state = "missing" if package.version is None else package.version
            if package.version is not None and not package.fits:
                state += f", expected {package.expected}"
            yield f"  {package.name:{width}}  {state}"
