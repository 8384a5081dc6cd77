"""Where a network runs: names of devices, numbers of threads, precision."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ..errors import MeasureError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def device_of(model: nn.Module) -> torch.device:
    """The one device of a model's parameters and buffers.

    Raises:
        MeasureError: they are on several, or on one whose calls cannot be timed here.
    """
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1 or not {device.type for device in devices} <= {"cpu", "cuda"}:
        raise MeasureError(
            f"got a model on {', '.join(sorted(map(str, devices)))}; expected all of it on one "
            "device, a CPU or a CUDA device, for example model.to('cpu')"
        )
    return devices.pop() if devices else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The model of the CPU, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows what there is to know
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """Let torch use this many CPU threads meanwhile; gives how many it uses."""
    before = torch.get_num_threads()
    if threads is not None and threads < 1:
        raise MeasureError(f"got threads={threads}; expected a number of 1 or more")
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def precision_of(model: nn.Module) -> str:
    """The precision of a model's weights, by its short name.

    Raises:
        MeasureError: it is neither fp32 nor bf16.
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    for name, known in PRECISIONS.items():
        if dtype == known:
            return name
    raise MeasureError(f"got a model of {dtype}; expected one of {', '.join(PRECISIONS)}")
