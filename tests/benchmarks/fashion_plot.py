"""The results of fashion.py as a picture: accuracy of every config against its multiply-adds.

    python tests/benchmarks/fashion_plot.py [--results docs/fashion.jsonl] [--out docs/fashion.svg]

Validation top-1 in percent, the mean over the seeds; configs between super-net and base-net with
statistics of their own (``subpath.calibrate``).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from fashion import RESULTS, read
from fashion_table import Record

from subpath.plot.style import BEATEN, FRONT, INK, SKIPPABLE, new_figure, settings

SERIES = {"joint/labels too": (FRONT, "o"), "short/gentle": (SKIPPABLE, "s")}
NAMES = {"joint/labels too": "trained together", "short/gentle": "short fine-tune"}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=RESULTS.with_name("fashion.svg"))
    options = parser.parse_args()
    records = read(options.results)
    networks = list(dict.fromkeys(record["network"] for record in records))
    with settings():
        figure = new_figure(10, 3.6)
        for axes, name in zip(figure.subplots(1, len(networks)), networks, strict=True):
            draw(axes, [record for record in records if record["network"] == name])
            axes.set_title(name)
        figure.axes[0].set_ylabel("validation top-1, %")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(options.out, metadata={"Date": None})


def draw(axes, records: list[Record]) -> None:
    """One network."""
    costs = {skip: 1e3 * g for r in records if "gmacs" in r for skip, g in r["gmacs"].items()}
    lowest = []
    for what, (colour, marker) in SERIES.items():
        top1 = means(records, what, "calibrated")
        lowest += top1.values()
        style = {"s": 18, "color": colour, "marker": marker, "alpha": 0.8}
        axes.scatter([costs[s] for s in top1], top1.values(), label=NAMES[what], **style)
    alone = means(records, "alone FFFF", "top1")
    naive = {skip: alone[skip] for skip in alone if "T" in skip}
    style = {"s": 18, "color": BEATEN, "marker": "x"}
    axes.scatter([costs[s] for s in naive], naive.values(), label="skipped naively", **style)
    ends = {"F" * 4: alone["F" * 4], **means(records, "alone TTTT", "top1")}
    lowest += ends.values()
    style = {"s": 90, "color": INK, "marker": "_", "linewidths": 2}
    axes.scatter([costs[s] for s in ends], ends.values(), label="trained alone", **style)
    room = (max(lowest) - min(lowest)) / 4
    axes.set_ylim(min(lowest) - 2 * room, max(lowest) + room)
    axes.set_xlabel("million MACs")
    axes.spines[["top", "right"]].set_visible(False)


def means(records: list[Record], what: str, column: str) -> dict[str, float]:
    """The mean accuracy of each config over the seeds."""
    found = [record[column] for record in records if record["what"] == what]
    return {skip: statistics.mean(top1[skip] for top1 in found) for skip in found[0]}


if __name__ == "__main__":
    main()
