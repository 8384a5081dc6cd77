"""What a step of self-distillation costs, in time and memory: run by hand, on a quiet machine.

    python tests/benchmarks/step_cost.py [--networks resnet50 ...] [--size 128] [--batch 16]
        [--rounds 15] [--threads 1] [--cpu-time]

For each network: the median ratio, over interleaved rounds, of the two-pass step to a plain step
of the original, optimiser included, beside ``1 + base / super``, what the two passes alone would
cost in multiply-adds (the aim is at most 2 % above that), and beside the same with nothing shared
between the passes; the ratio of a step with the original frozen and patches of 2 %, beside
``(1 + 2 base / super) / 3``; the first ratio to a plain step of the original and one of the
base-net as a network of its own, which tells what the method adds to the two passes; and the most
memory that a process held over such steps, beyond what it held before the first. There, what is
freed goes back to the system at once, so that the order of allocations does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from torch.nn import functional as F

import subpath
from subpath.distill import two_pass_step
from subpath.measure.timing import interleave

NETWORKS = ["resnet50", "mobilenetv2_100", "vit_small_patch16_224", "swin_tiny_patch4_window7_224"]
TWO_PASSES = ("two passes", "apart", "frozen", "frozen, apart")
SIDES = ("plain", *TWO_PASSES, "base-net alone")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="others add nothing to it")
    parser.add_argument("--memory-of", choices=SIDES, help="print the memory of one side alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory(step(options.networks[0], options.memory_of, options)[0]))
        return
    print(
        f"batch {options.batch}, {options.size} x {options.size}, fp32, {options.threads} threads, "
        f"torch {torch.__version__}, {options.rounds} rounds, "
        f"{'CPU' if options.cpu_time else 'wall'} time"
    )
    for name in options.networks:
        compare(name, options)


def compare(name: str, options: argparse.Namespace) -> None:
    """One network."""
    sides, share = {}, 1.0
    for side in SIDES:
        sides[side], share = step(name, side, options)
    clock = time.process_time if options.cpu_time else time.perf_counter
    times = interleave(sides, options.rounds, clock=clock)
    plain = times["plain"]
    ratios = {side: median_ratio(times[side], plain) for side in TWO_PASSES}
    ratio, floor = ratios["two passes"], 1 + share
    both = [one + other for one, other in zip(plain, times["base-net alone"], strict=True)]
    held = [in_a_process(name, side, options) for side in ("plain", "two passes", "apart")]
    print(
        f"{name}: plain step {statistics.median(plain):.0f} ms\n"
        f"  two passes / plain {ratio:.3f}, 1 + base / super {floor:.3f}: "
        f"{ratio / floor - 1:+.1%}; nothing shared {ratios['apart']:.3f}; "
        f"shared / not {median_ratio(times['two passes'], times['apart']):.3f}\n"
        f"  two passes / (plain + base-net alone) {median_ratio(times['two passes'], both):.3f}\n"
        f"  frozen / plain {ratios['frozen']:.3f}, (1 + 2 base / super) / 3 "
        f"{(1 + 2 * share) / 3:.3f}; nothing shared {ratios['frozen, apart']:.3f}\n"
        f"  memory {held[0]:.0f} MB and {held[1]:.0f} MB, ratio {held[1] / held[0]:.3f}; "
        f"nothing shared {held[2] / held[0]:.3f}",
        flush=True,
    )


def median_ratio(these: list[float], those: list[float]) -> float:
    """The median over rounds."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


class Apart:
    """A student whose passes share nothing."""

    def __init__(self, model: subpath.AdaptiveModel) -> None:
        self.stages, self.original_frozen = model.stages, model.original_frozen
        self.forward_features_of_stages = model.forward_features_of_stages

    def sharing(self) -> AbstractContextManager[Any]:
        """Each pass by itself."""
        return nullcontext(self.forward_features_of_stages)


def step(name: str, side: str, options: argparse.Namespace) -> tuple[Callable[[], object], float]:
    """A training step, and the base-net's share of the super-net's multiply-adds."""
    torch.manual_seed(0)
    given = {"img_size": options.size} if "vit" in name or "swin" in name else {}
    model = timm.create_model(name, num_classes=100, **given).train()
    images = torch.randn(options.batch, 3, options.size, options.size)
    targets = torch.arange(options.batch) % 100
    adaptive = subpath.convert(model, images[:2])
    base = "T" * len(adaptive.stages)
    if side in TWO_PASSES:
        model = adaptive
    if side.startswith("frozen"):
        subpath.fit(adaptive, [images])
        adaptive.freeze_original()
        adaptive.train()
    elif side == "base-net alone":
        model = adaptive.subnet(base, copy_weights=True)
    student: Any = Apart(adaptive) if side.endswith("apart") else adaptive
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1e-3, momentum=0.9)

    def plain() -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimiser.step()

    def two_passes() -> None:
        optimiser.zero_grad()
        two_pass_step(student, images, targets, F.cross_entropy)
        optimiser.step()

    return (two_passes if side in TWO_PASSES else plain), adaptive.share_of_work(base)


def memory(run: Callable[[], object]) -> float:
    """Megabytes that this process holds at most during three steps, beyond what it held before."""
    before = _status("VmRSS")
    for _ in range(3):
        run()
    return _status("VmHWM") - before


def _status(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(kind))


def in_a_process(name: str, side: str, options: argparse.Namespace) -> float:
    """The memory of one side in a process of its own."""
    command = [sys.executable, __file__, "--networks", name, "--memory-of", side]
    command += ["--size", str(options.size), "--batch", str(options.batch)]
    own = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=own).stdout
    return float(shown)


if __name__ == "__main__":
    main()
