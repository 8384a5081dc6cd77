"""What one conversion costs, of two or more versions of this library by turns.

    git worktree add /tmp/before <commit>
    python tests/benchmarks/conversion.py /tmp/before . --networks resnet50 --rounds 15

Each version runs in a process of its own, which is asked for one conversion at a time, so that all
see the same load. Prints the median CPU seconds of ``convert(model)`` for each version; versions
that compare the super-net with the original after a conversion are asked without that too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

CHILD = """
import inspect, sys, time, warnings
warnings.simplefilter("ignore")
import timm, torch
import subpath
torch.set_num_threads(1)
model = timm.create_model(sys.argv[1]).eval()
compares = "check" in inspect.signature(subpath.convert).parameters
print(compares, flush=True)
for line in sys.stdin:
    asked = {"check": False} if line.strip() == "unchecked" else {}
    start = time.process_time()
    subpath.convert(model, **asked)
    print(time.process_time() - start, flush=True)
"""


class Version:
    """One version of the library, in a process of its own."""

    def __init__(self, tree: Path, network: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, network],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tree,
        )
        self.tree = tree
        self.asked = ["checked", "unchecked"] if self._answer() == "True" else ["unchecked"]
        if self.asked == ["unchecked"]:
            self.asked = ["as it is"]
        self.seconds: dict[str, list[float]] = {asked: [] for asked in self.asked}

    def convert(self, asked: str) -> float:
        """The CPU seconds of one conversion."""
        assert self.process.stdin is not None
        self.process.stdin.write(asked + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs="+", type=Path, help="checkouts of the versions")
    parser.add_argument("--networks", nargs="+", default=["resnet50"])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    for network in options.networks:
        versions = [Version(tree, network) for tree in options.trees]
        for version in versions:
            version.convert(version.asked[-1])  # what is imported and cached at first
        for _ in range(options.rounds):
            for version in versions:
                for asked in version.asked:
                    version.seconds[asked].append(version.convert(asked))
        for version in versions:
            for asked, seconds in version.seconds.items():
                low, *_, high = statistics.quantiles(seconds, n=4)
                print(
                    f"{network} {version.tree} {asked}: {statistics.median(seconds):.3f} s "
                    f"(middle half {low:.3f} to {high:.3f}, {len(seconds)} rounds)",
                    flush=True,
                )
            version.process.terminate()


if __name__ == "__main__":
    main()
