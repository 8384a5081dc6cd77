"""The results of fashion.py as tables in Markdown, those of docs/results.md.

    python tests/benchmarks/fashion_table.py [--results docs/fashion.jsonl]

Accuracies are validation top-1 in percent: mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from fashion import RESULTS, read

from subpath.choice.front import pareto_front

ENDS = {"super-net": "FFFF", "base-net": "TTTT"}
ALONE = {"FFFF": "alone FFFF", "TTTT": "alone TTTT"}
ROWS = {
    "joint": "together, the method's loss",
    "joint/labels too": "together, labels too (default)",
    "joint/no distillation": "together, labels alone",
    "joint/no features": "together, no feature distillation",
    "joint/no twins": "together, no twin norms",
    "joint/as published": "together, `weight` 1 as published",
    "plain": "a tenth more for the original itself",
    "short": "short, the method's loss",
    "short/labels too": "short, labels too",
    "short/no distillation": "short, labels alone",
    "short/no features": "short, no feature distillation",
    "short/features": "short, with feature distillation",
    "short/no twins": "short, no twin norms",
    "third": "a third, the method's loss",
    "plain/gentle": "a tenth more for the original itself, gentle",
    "cut/gentle": "a tenth for the base-net cut out of the original, gentle",
    "short/gentle": "short, gentle (default)",
    "short/gentle, one rate": "short, gentle, twins no faster",
    "third/gentle": "a third, gentle",
    "statistics": "statistics of the twins, no training",
    "fit": "`fit`: statistics and patches, no training",
    "frozen 1": "original frozen, a hundredth",
    "frozen 3": "original frozen, three hundredths",
    "frozen/no patches": "original frozen, a tenth, twins alone",
    "frozen": "original frozen, a tenth",
    "frozen/low rank": "original frozen, a tenth, with additions of rank 8",
    "recipe/labels too": "the recipe's fine-tune",
}
COMPARED = ("joint", "joint/labels too", "short", "short/labels too", "short/gentle")
COMPARED += ("cut/gentle", "third", "third/gentle", "fit", "frozen 1", "frozen 3", "frozen")
COMPARED += ("frozen/low rank",)
OF_ONE = ("plain", "cut")
INNER = ("alone FFFF", *(what for what in ROWS if what.split("/")[0] not in OF_ONE))

Record = dict[str, Any]
Found = dict[str, dict[int, Record]]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    networks: dict[str, Found] = {}
    for record in map(with_short_ends, read(parser.parse_args().results)):
        found = networks.setdefault(record["network"], {})
        found.setdefault(record["what"], {})[record["seed"]] = record
    trained(networks)
    differences(networks)
    between(networks)
    fronts(networks)


def with_short_ends(record: Record) -> Record:
    """The record with ``FFFF`` and ``TTTT`` for super-net and base-net of more stages too."""
    short = {"F": ENDS["super-net"], "T": ENDS["base-net"]}

    def renamed(values: dict[str, float]) -> dict[str, float]:
        return {short["".join(set(s))] if len(set(s)) == 1 else s: v for s, v in values.items()}

    names = ("top1", "calibrated", "gmacs")
    return {**record, **{name: renamed(record[name]) for name in names if name in record}}


def trained(networks: dict[str, Found]) -> None:
    """Super-net and base-net, trained in each of the ways."""
    header("", *(f"{name}: {end}" for name in networks for end in ENDS))
    rows = {"each trained alone": ALONE}
    rows["the first, naively skipped"] = dict.fromkeys(ALONE, "alone FFFF")
    rows |= {title: dict.fromkeys(ALONE, what) for what, title in ROWS.items()}
    for title, whats in rows.items():
        cells = [
            spread(
                [r["top1"][skip] for r in found.get(whats[skip], {}).values() if skip in r["top1"]]
            )
            for found in networks.values()
            for skip in ENDS.values()
        ]
        if any(cells):
            row(title, *cells)


def differences(networks: dict[str, Found]) -> None:
    """How much better than the networks trained alone, seed by seed."""
    header("against alone", *(f"{name}: {end}" for name in networks for end in ENDS))
    for what in COMPARED:
        cells = []
        for found in networks.values():
            for skip in ENDS.values():
                alone = found.get(ALONE[skip], {})
                each = [
                    r["top1"][skip] - alone[seed]["top1"][skip]
                    for seed, r in sorted(found.get(what, {}).items())
                    if seed in alone and skip in r["top1"]
                ]
                listed = ", ".join(f"{difference:+.2f}" for difference in each)
                cells.append(f"**{statistics.mean(each):+.2f}** ({listed})" if each else "")
        if any(cells):
            row(ROWS[what], *cells)


def between(networks: dict[str, Found]) -> None:
    """The configs that were never trained, before and after calibration."""
    header("", "", "mean", "worst", "inverted pairs, %", "by more than 0.5 points, %")
    for name, found in networks.items():
        for what in INNER:
            for column in ("top1", "calibrated"):
                records = [r for r in found.get(what, {}).values() if column in r]
                if records and (column == "top1" or any(r["top1"] != r[column] for r in records)):
                    inner = [of_others(r[column]) for r in records]
                    title = ROWS.get(what, "naively skipped")
                    row(
                        name,
                        title + (", calibrated" if column == "calibrated" else ""),
                        spread([statistics.mean(values) for values in inner]),
                        spread([min(values) for values in inner]),
                        *(f"{mean_inversions(records, column, by):.0f}" for by in (0.0, 0.5)),
                    )


def fronts(networks: dict[str, Found]) -> None:
    """The configs that none beats in both accuracy and cost, by the mean over the seeds."""
    print()
    for name, found in networks.items():
        for what in ("joint/labels too", "short/gentle"):
            records = list(found.get(what, {}).values())
            if records:
                costs = records[0]["gmacs"]
                means = {s: statistics.mean(r["calibrated"][s] for r in records) for s in costs}
                kept = pareto_front([(costs[skip], means[skip]) for skip in costs])
                front = [skip for skip, is_kept in zip(costs, kept, strict=True) if is_kept]
                front.sort(key=costs.__getitem__)
                told = ", ".join(f"`{skip}` {means[skip]:.2f}" for skip in front)
                print(f"- {name}, {ROWS[what]}: {told}")


def header(*titles: str) -> None:
    """The head of a table."""
    print()
    row(*titles)
    row(*("---" for _ in titles))


def row(*cells: str) -> None:
    """A line of a table."""
    print("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")


def spread(values: list[float]) -> str:
    """Mean and standard deviation; of fewer than three seeds, how many there are."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    fewer = f" ({len(values)})" if len(values) < 3 else ""
    return f"{statistics.mean(values):.2f}{deviation}{fewer}"


def of_others(top1: dict[str, float]) -> list[float]:
    """The accuracies of the configs between super-net and base-net."""
    return [value for skip, value in top1.items() if skip not in ALONE]


def mean_inversions(records: list[Record], column: str, by: float) -> float:
    """The mean of :func:`inversions` over the seeds."""
    return statistics.mean(inversions(r[column], r["gmacs"], by) for r in records)


def inversions(top1: dict[str, float], gmacs: dict[str, float], by: float = 0.0) -> float:
    """The share of pairs of configs, in percent, of which the costlier is less accurate ``by``."""
    pairs = [(a, b) for a in top1 for b in top1 if gmacs[a] > gmacs[b]]
    return 100 * sum(top1[a] < top1[b] - by for a, b in pairs) / len(pairs)


if __name__ == "__main__":
    main()
