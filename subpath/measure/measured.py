"""Put what was counted, timed and evaluated into one table to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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


def with_saved_latency(table: MeasuredTable, saved: MeasuredTable) -> MeasuredTable:
    """``table`` with the latencies, and the accuracies it lacks, of one that was saved before."""
    known = {config.skip: config for config in saved.configs}
    configs = []
    for config in table.configs:
        old = known.get(config.skip, MeasuredConfig(config.skip))
        top1 = old.top1 if config.top1 is None else config.top1
        configs.append(
            replace(config, latency_ms=old.latency_ms, latency_from=old.latency_from, top1=top1)
        )
    return MeasuredTable(tuple(configs), saved.conditions)
