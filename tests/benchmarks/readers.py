"""The second reader against torch.export: what each can read, and in what time.

    python tests/benchmarks/readers.py --every 6 \
        transformers diffusers torchvision-tasks ultralytics

Both are given the small networks of the sweep's catalogues, in eval mode, on the CPU: the recorder
as ``convert`` calls it, and ``torch.export.export(..., strict=False)``, whose graph names the
modules too but not what each call of one was given and gave. Prints a line for each network, then
how many each could read and the median seconds where both could.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from subpath import zoo
from subpath.graph.copies import deep_copy
from subpath.graph.read import read_run


def seconds(run: Callable[[], Any]) -> tuple[float, str]:
    start = time.perf_counter()
    try:
        run()
    except Exception as error:
        return time.perf_counter() - start, f"{type(error).__name__}: {str(error).splitlines()[:1]}"
    return time.perf_counter() - start, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="take each n-th network")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    count, found = 0, {"recorder": 0, "export": 0}
    both: list[tuple[float, float]] = []
    for library in map(zoo.library, options.libraries):
        for name in library.names()[:: options.every]:
            torch.manual_seed(0)
            model = library.make(name).eval()
            inputs = library.inputs(name, model)
            exported = deep_copy(model)
            recorder, why = seconds(lambda m=model, i=inputs: read_run(m, i))
            export, why_not = seconds(
                lambda m=exported, i=inputs: torch.export.export(
                    m, i.args, dict(i.kwargs), strict=False
                )
            )
            count += 1
            found["recorder"] += not why
            found["export"] += not why_not
            if not (why or why_not):
                both.append((recorder, export))
            print(
                f"{library.name} {name}: recorder {why or f'{recorder:.2f} s'}, "
                f"export {why_not or f'{export:.2f} s'}",
                flush=True,
            )
    medians = [statistics.median(times) for times in zip(*both, strict=True)]
    print(
        f"{count} networks: the recorder read {found['recorder']} (median {medians[0]:.2f} s), "
        f"torch.export {found['export']} (median {medians[1]:.2f} s)"
    )


if __name__ == "__main__":
    main()
