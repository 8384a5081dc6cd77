"""One ONNX file for all skip configs against a file for each: run by hand, on a quiet machine.

    python tests/benchmarks/onnx_runtime_skip.py [--models resnet18 vit_tiny_patch16_224 ...]
        [--batch 1] [--rounds 25] [--threads 1] [--skip FFFF TTFF TTTT] [--cpu-time]

For each network: size of the file against the super-net's own, and for each config the largest
difference to torch, the median time in ONNX Runtime beside that of the config's own file (runs
interleaved, the order changing each round), and their ratio. Then the memory and the loading time
of both sessions. The twins get values of their own first, as fine-tuning gives them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch

import subpath
from subpath import export, zoo
from subpath.adaptive.model import AdaptiveModel

MODELS = [
    "resnet50",
    "resnet18",
    "swin_tiny_patch4_window7_224",
    "vit_small_patch16_224",
    "mobilevit_xs",
    "coatnet_0_rw_224",
]
LOADING = """
import sys, time, onnxruntime

def megabytes(kind):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(kind))

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
before, start = megabytes("VmRSS"), time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], options)
print(time.perf_counter() - start, megabytes("VmRSS") - before, megabytes("VmHWM") - before)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", nargs="*", help="the configs to measure; default: all")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="CPU time, which other processes do not add to (with one thread)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, CPU, fp32, batch "
        f"{options.batch}, {options.threads} threads, {options.rounds} interleaved rounds, "
        f"{'CPU' if options.cpu_time else 'wall'} time"
    )
    for name in options.models:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            compare(name, Path(folder), options)


def compare(name: str, folder: Path, options: argparse.Namespace) -> None:
    """One network."""
    original = timm.create_model(name).eval()
    images = torch.randn(options.batch, *zoo.input_size(original))
    model = subpath.convert(original, torch.zeros(2, *images.shape[1:]))
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if path.startswith("twin_norms."):
                weight += 0.1 * torch.randn_like(weight)
    start = time.perf_counter()
    whole = export.to_onnx(model, folder / "runtime.onnx")
    seconds = time.perf_counter() - start
    switching = session(whole.path, options.threads)
    print(f"\n{name}: runtime file made and checked in {seconds:.0f} s")
    print("config    difference   runtime file, ms   own file, ms   ratio")
    ratios, differences = [], []
    files = {}
    clock = time.process_time if options.cpu_time else time.perf_counter
    for config in model.skip_configs():
        if options.skip and config not in options.skip and "T" in config:
            continue
        single = export.to_onnx(model, folder / f"{config}.onnx", skip=config)
        files[config] = single
        own = session(single.path, options.threads)
        letters = np.array([letter == "T" for letter in config])
        given = {whole.inputs[0].name: images.numpy()}
        difference = distance(model, config, images, switching.run(None, given | {"skip": letters}))
        times: tuple[list[float], list[float]] = ([], [])
        sides = [(switching, given | {"skip": letters}, times[0]), (own, given, times[1])]
        for round_ in range(options.rounds + 2):
            for side, inputs, taken in sides if round_ % 2 else sides[::-1]:
                start = clock()
                side.run(None, inputs)
                taken.append(clock() - start)
        first, second = (1000 * statistics.median(side[2:]) for side in times)
        ratios.append(first / second)
        differences.append(difference)
        print(f"{config:9s} {difference:10.1e} {first:18.2f} {second:14.2f} {first / second:7.3f}")
        if "T" in config:
            single.path.unlink()
    net = next(iter(files.values()))
    print(
        f"size {whole.size:,} against {net.size:,} bytes of the super-net: "
        f"{whole.size / net.size:.4f}; largest difference {max(differences):.1e}; time ratio "
        f"{min(ratios):.3f} to {max(ratios):.3f}, median {statistics.median(ratios):.3f}"
    )
    for title, path in (("runtime file", whole.path), ("super-net's file", net.path)):
        print(f"loading the {title}: {loading(path)}")


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime with default optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def distance(
    model: AdaptiveModel, config: str, images: torch.Tensor, got: list[np.ndarray]
) -> float:
    """The largest absolute difference to torch."""
    with torch.no_grad():
        expected = model(images, skip=config).numpy()
    return float(np.abs(expected - got[0]).max())


def loading(path: Path) -> str:
    """Time and memory of a session in a process of its own."""
    command = [sys.executable, "-c", LOADING, os.fspath(path)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, kept, peak = map(float, shown.split())
    return f"{seconds:.2f} s, {kept:.0f} MB kept, {peak:.0f} MB at most"


if __name__ == "__main__":
    main()
