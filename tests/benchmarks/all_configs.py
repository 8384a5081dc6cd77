"""All skip configs on one batch: what sharing saves. Run by hand.

    OMP_NUM_THREADS=1 python tests/benchmarks/all_configs.py [--networks resnet50 ...] [--batch 4]
        [--rounds 5]

Medians over interleaved rounds of CPU time, in super-nets: all configs one by one, and as a tree
(``model.outputs``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque

import timm
import torch

import subpath
from subpath.measure.timing import interleave


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["resnet50", "vit_small_patch16_224"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"batch {options.batch}, {options.threads} threads, fp32, torch {torch.__version__}")
    for name in options.networks:
        original = timm.create_model(name).eval()
        images = torch.randn(options.batch, *subpath.zoo.input_size(original))
        model = subpath.convert(original, images[:1])
        sides = {
            "super-net": lambda m=model, x=images: m(x),
            "again": lambda m=model, x=images: m(x),
            "one by one": lambda m=model, x=images: [m(x, skip=c) for c in m.skip_configs()],
            "tree": lambda m=model, x=images: deque(m.outputs(x), maxlen=0),
        }
        with torch.inference_mode():
            times = interleave(sides, options.rounds, clock=time.process_time)
        print(f"{name}, {len(model.skip_configs())} configs", end="")
        for side in list(sides)[1:]:
            pairs = zip(times[side], times["super-net"], strict=True)
            print(f"; {side} {statistics.median(a / b for a, b in pairs):.2f}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
