"""Records side by side: families, and the smallest network of each."""

from __future__ import annotations

from collections.abc import Iterable

from .record import Record


def by_family(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each family, by the names of families."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(record.family, []).append(record)
    return dict(sorted(families.items()))


def smallest(records: Iterable[Record]) -> Record | None:
    """The converted network with the fewest multiply-adds."""
    converted = (record for record in records if record.outcome == "converted")
    return min(converted, key=lambda record: record.gmacs_super or 0, default=None)
