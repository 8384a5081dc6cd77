"""Put a number on each skip config."""

from .configs import useful_configs
from .count import Count, count
from .latency import latency
from .latency_table import ConfigLatency, LatencyTable
from .macs import ConfigMacs, MacTable, count_macs
from .measured import measured_table

__all__ = [
    "ConfigLatency",
    "ConfigMacs",
    "Count",
    "LatencyTable",
    "MacTable",
    "count",
    "count_macs",
    "latency",
    "measured_table",
    "useful_configs",
]
