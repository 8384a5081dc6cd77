"""What adaptive depth costs and saves in time: run by hand, on a quiet machine.

    python tests/benchmarks/overhead.py [--model resnet50] [--batch 8] [--rounds 15] [--threads 2]
        [--skip TFFF TTTT]

Prints median ratios of interleaved runs: the super-net against the original, each config against
the super-net beside its share of the MACs, the cost of changing the config, and of converting.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import timm
import torch

import subpath
from subpath import measure
from subpath.skip import SkipConfig


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", nargs="*", help="the configs to measure; default: all")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    original = timm.create_model(options.model).eval()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        adaptive = subpath.convert(original)
        seconds.append(time.perf_counter() - start)
    size = subpath.zoo.input_size(original)
    images = torch.randn(options.batch, *size)
    print(
        f"{options.model}, batch {options.batch}, {options.threads} threads, fp32, torch "
        f"{torch.__version__}, {options.rounds} interleaved rounds"
    )
    print(f"convert, first call: {seconds[0]:.2f} s; then {min(seconds[1:]):.2f} s")
    macs = {row.skip: row.ratio for row in measure.count_macs(adaptive).configs}
    whole, *others = adaptive.skip_configs()
    configs = [whole, *(config for config in others if config in (options.skip or others))]
    sides: dict[str, Callable[[], object]] = {"original": lambda: original(images)}
    for config in configs:
        sides[config] = lambda config=config: adaptive(images, skip=config)
    times = interleaved(sides, options.rounds)
    print(f"super-net / original: {ratio(times, whole, 'original'):.3f}")
    print("config  latency / super-net   MACs / super-net   difference")
    for config in configs:
        latency = ratio(times, config, whole)
        print(f"{config:8s}{latency:10.3f}{macs[config]:20.3f}{latency - macs[config]:18.3f}")
    print(f"changing the config: {switching_seconds(adaptive, configs) * 1e6:.2f} microseconds")


def interleaved(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round; a round runs every side once, in turning order."""
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for name in names:
            sides[name]()
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start = time.perf_counter()
                sides[name]()
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """Median over the rounds of one side's time by the other's."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def switching_seconds(
    adaptive: subpath.AdaptiveModel, configs: Sequence[SkipConfig], calls: int = 2000
) -> float:
    """Seconds to choose another config, after its first use: all that comes before its code."""
    start = time.perf_counter()
    for number in range(calls):
        adaptive._forwards.get(configs[number % len(configs)], False, "output", ())
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()
