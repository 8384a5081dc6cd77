"""What commands cost from start to end: run by hand.

    python tests/benchmarks/starting.py [--rounds 5]

CPU seconds, user and system, of whole processes on one thread; medians over interleaved rounds, and
of the ratios to ``import torch, timm``.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import torch, timm": ["-c", "import torch, timm"],
    "subpath --help": ["-m", "subpath", "--help"],
    "subpath inspect resnet50": ["-m", "subpath", "inspect", "resnet50"],
    "subpath report resnet50": ["-m", "subpath", "report", "resnet50"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, these in times.items():
        ratios = [a / b for a, b in zip(these, times["import torch, timm"], strict=True)]
        ratio = statistics.median(ratios)
        print(f"{name}: {statistics.median(these):.2f} s, {ratio:.3f} of import torch, timm")


def seconds(command: list[str]) -> float:
    """CPU time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=own)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
