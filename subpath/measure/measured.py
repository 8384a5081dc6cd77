"""Put what was counted, timed and evaluated into one table to choose from."""

from __future__ import annotations

from collections.abc import Mapping

from ..choice import MeasuredConfig, MeasuredTable
from ..skip import SkipConfig
from .latency_table import LatencyTable
from .macs import MacTable


def measured_table(
    macs: MacTable, latency: LatencyTable | None = None, top1: Mapping[str, float] | None = None
) -> MeasuredTable:
    """A table to choose a skip config from, and to save beside the weights.

    Args:
        macs: what :func:`count_macs` gave; its configs are those of the table.
        latency: what :func:`subpath.measure.latency` gave.
        top1: accuracy in percent of some configs.
    """
    times = {entry.skip: entry for entry in latency.configs} if latency is not None else {}
    known = {SkipConfig(skip): value for skip, value in (top1 or {}).items()}
    configs = []
    for entry in macs.configs:
        timed = times.get(entry.skip)
        configs.append(
            MeasuredConfig(
                skip=entry.skip,
                gmacs=entry.gmacs,
                latency_ms=timed.latency_ms if timed else None,
                latency_from=timed.source if timed else None,
                top1=known.get(entry.skip),
            )
        )
    return MeasuredTable(tuple(configs), latency.conditions if latency is not None else None)
