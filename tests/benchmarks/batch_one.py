"""What adaptive depth costs where calls are short: batch 1, small networks. Run by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/batch_one.py [--networks levit_256 ...] [--rounds 25]
        [--threads 1] [--wall]

For each network, medians over interleaved rounds, of CPU time: the super-net by the original, the
original by itself (how far to trust the rest), and ``skip=`` of the base-net beside the bare
sub-network, in microseconds. ``resnet18-8`` is a ResNet-18 of 8 channels at 32 x 32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from torch import nn

import subpath
from subpath.measure.timing import interleave

NETWORKS = [
    "resnet18-8",
    "levit_256",
    "mobilenetv4_conv_small",
    "convnext_atto",
    "mobilenetv2_100",
    "efficientnet_b0",
    "resnet50",
    "regnety_016",
    "swin_tiny_patch4_window7_224",
    "vit_small_patch16_224",
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall time instead of CPU time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"batch 1, {options.threads} threads, fp32, torch {torch.__version__}, {options}")
    print("network  super-net / original  original / itself  skip= over the sub-network (us)")
    for name in options.networks:
        compare(name, options.rounds, time.perf_counter if options.wall else time.process_time)


def compare(name: str, rounds: int, clock: Callable[[], float]) -> None:
    """One network."""
    original, images = network(name)
    adaptive = subpath.convert(original, images)
    base = str(adaptive.skip_configs()[-1])
    subnet = adaptive.subnet(base)
    calls = {
        "original": lambda: original(images),
        "itself": lambda: original(images),
        "super-net": lambda: adaptive(images),
        "base-net": lambda: adaptive(images, skip=base),
        "sub-network": lambda: subnet(images),
    }
    sides = {side: Repeated(call, clock) for side, call in calls.items()}
    with torch.inference_mode():
        times = interleave(sides, rounds, clock=clock)
    per_call = {side: [t / sides[side].calls for t in taken] for side, taken in times.items()}

    def ratio(one: str, other: str) -> float:
        pairs = zip(per_call[one], per_call[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    pairs = zip(per_call["base-net"], per_call["sub-network"], strict=True)
    over = statistics.median(a - b for a, b in pairs) * 1e3
    print(
        f"{name:30s}{ratio('super-net', 'original'):8.3f}{ratio('itself', 'original'):8.3f}"
        f"{over:8.1f}   (original {statistics.median(per_call['original']):.3f} ms)",
        flush=True,
    )


class Repeated:
    """Some calls in a row, so that a side takes some 20 ms and the clock's step is nothing."""

    def __init__(self, call: Callable[[], object], clock: Callable[[], float]) -> None:
        with torch.inference_mode():
            call()
            start = clock()
            call()
            self.calls = max(1, int(0.02 / max(clock() - start, 1e-6)))
        self._call = call

    def __call__(self) -> None:
        """Make them."""
        for _ in range(self.calls):
            self._call()


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network in eval mode, and an input."""
    torch.manual_seed(0)
    if name == "resnet18-8":
        small = timm.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=10)
        return small.eval(), torch.randn(1, 3, 32, 32)
    original = timm.create_model(name).eval()
    return original, torch.randn(1, *subpath.zoo.input_size(original))


if __name__ == "__main__":
    main()
