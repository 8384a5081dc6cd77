"""Put a number on each skip config."""

from .configs import useful_configs
from .count import Count, count
from .latency import latency
from .latency_table import ConfigLatency, LatencyTable
from .macs import ConfigMacs, MacTable, count_macs, example_shape
from .measured import measured_table, with_saved_latency
from .parts import Part, Parts, parts_of

__all__ = [
    "ConfigLatency",
    "ConfigMacs",
    "Count",
    "LatencyTable",
    "MacTable",
    "Part",
    "Parts",
    "count",
    "count_macs",
    "example_shape",
    "latency",
    "measured_table",
    "parts_of",
    "useful_configs",
    "with_saved_latency",
]
