"""The results of fashion.py as tables in Markdown.

    python tests/benchmarks/fashion_table.py [--results docs/fashion.jsonl]

Accuracies are held-back top-1 in percent: mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "docs" / "fashion.jsonl"
ENDS = {"super-net": "F", "base-net": "T"}
COMPARED = ("joint", "joint/labels too", "short", "short/labels too", "third")

Record = dict[str, Any]


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def of_end(record: Record, letter: str) -> list[float]:
    """The accuracy of the super-net (F) or the base-net (T), if it was measured."""
    return [top1 for skip, top1 in record["top1"].items() if set(skip) == {letter}]


def of_others(top1: dict[str, float]) -> list[float]:
    """The accuracies of the configs between the two."""
    return [value for skip, value in top1.items() if len(set(skip)) > 1]


def inversions(top1: dict[str, float], gmacs: dict[str, float], by: float = 0.0) -> float:
    """The share of pairs of configs, in percent, of which the costlier is less accurate ``by``."""
    pairs = [(a, b) for a in top1 for b in top1 if gmacs[a] > gmacs[b]]
    return 100 * sum(top1[a] < top1[b] - by for a, b in pairs) / len(pairs)


def front(top1: dict[str, float], gmacs: dict[str, float]) -> str:
    """The configs that none beats in both accuracy and cost, cheapest first."""
    best, kept = 0.0, []
    for skip in sorted(top1, key=lambda skip: (gmacs[skip], -top1[skip])):
        if top1[skip] > best:
            best, kept = top1[skip], [*kept, f"`{skip}`"]
    return " ".join(kept)


def trained(records: list[Record]) -> None:
    """Super-net and base-net, trained in each of the ways."""
    print("| | seeds | super-net | base-net |\n| --- | --- | --- | --- |")
    for what in sorted({record["what"] for record in records}):
        found = [record for record in records if record["what"] == what]
        columns = [[top1 for r in found for top1 in of_end(r, end)] for end in ENDS.values()]
        cells = [spread(column) if column else "" for column in columns]
        print(f"| {what} | {len(found)} | {' | '.join(cells)} |")


def differences(records: list[Record], what: str) -> None:
    """How much better than the networks trained alone, seed by seed."""
    for end, letter in ENDS.items():
        alone = {r["seed"]: r for r in records if r["what"] == f"alone {letter * 4}"}
        each = [
            of_end(record, letter)[0] - of_end(alone[record["seed"]], letter)[0]
            for record in records
            if record["what"] == what and record["seed"] in alone
        ]
        if each:
            listed = ", ".join(f"{difference:+.2f}" for difference in each)
            print(f"- {what}, {end}, against alone: {statistics.mean(each):+.2f} ({listed})")


def between(records: list[Record], what: str) -> None:
    """The configs that were never trained, before and after calibration."""
    found = [record for record in records if record["what"] == what]
    for column in ("top1", "calibrated"):
        measured = [record for record in found if column in record]
        inner = [of_others(record[column]) for record in measured]
        if inner:
            pairs = [
                statistics.mean(inversions(r[column], r["gmacs"], by) for r in measured)
                for by in (0.0, 0.5)
            ]
            mean = spread([statistics.mean(values) for values in inner])
            worst = spread([min(values) for values in inner])
            print(f"| {what} | {column} | {mean} | {worst} | {pairs[0]:.0f} | {pairs[1]:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    everything = [json.loads(line) for line in parser.parse_args().results.read_text().splitlines()]
    for name in dict.fromkeys(record["network"] for record in everything):
        records = [record for record in everything if record["network"] == name]
        print(f"\n### {name}\n")
        trained(records)
        print()
        for what in COMPARED:
            differences(records, what)
        print("\n| | statistics | mean | worst | inverted pairs, % | by more than 0.5 |")
        print("| --- | --- | --- | --- | --- | --- |")
        for what in ("alone FFFF", *COMPARED):
            between(records, what)
        print()
        for record in records:
            if record["what"] in ("joint", "short"):
                print(
                    f"- front, {record['what']}, seed {record['seed']}:",
                    front(record["calibrated"], record["gmacs"]),
                )


if __name__ == "__main__":
    main()
