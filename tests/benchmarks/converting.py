"""What reading and converting a network costs, against another state of the library: run by hand.

    git archive REVISION | tar x -C DIRECTORY
    python tests/benchmarks/converting.py DIRECTORY [--networks resnet50 ...] [--rounds 3]

Two processes, one for each state, plan and convert the same networks of timm in turn, with random
weights and inputs of the networks' own sizes; ``--meta`` does without weights, and so without the
forward passes that a conversion is checked with. Prints, for each network and call, the medians in
CPU seconds on one thread and the median of the ratios, new to old.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

NETWORKS = ["resnet50", "swin_tiny_patch4_window7_224", "mvitv2_large", "maxvit_large_tf_224"]
HERE = Path(__file__).parents[2]
WORKER = """
import sys, time
import timm, torch
import subpath

torch.set_num_threads(1)
device, made = sys.argv[1], {}
for line in sys.stdin:
    name, call = line.split()
    if name not in made:
        with torch.device(device):
            made = {name: timm.create_model(name)}
    start = time.process_time()
    getattr(subpath, call)(made[name])
    print(time.process_time() - start, flush=True)
"""


class Worker:
    """A process that runs one state of the library.

    Args:
        tree: where its sources are.
        device: of the networks.
    """

    def __init__(self, tree: Path, device: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER, device],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name: str, call: str) -> float:
        """CPU time of one call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, call, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="another state of the sources")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--meta", action="store_true")
    options = parser.parse_args()
    device = "meta" if options.meta else "cpu"
    old, new = (Worker(tree.resolve(), device) for tree in (options.other, HERE))
    for name in options.networks:
        for call in ("plan", "convert"):
            old.seconds(name, call), new.seconds(name, call)  # warm
            rounds = [
                (old.seconds(name, call), new.seconds(name, call)) for _ in range(options.rounds)
            ]
            before, after = (statistics.median(side) for side in zip(*rounds, strict=True))
            ratio = statistics.median(b / a for a, b in rounds)
            print(
                f"{name} {call}: {before:.2f} s, now {after:.2f} s, ratio {ratio:.2f}", flush=True
            )
    old.stop()
    new.stop()


if __name__ == "__main__":
    main()
