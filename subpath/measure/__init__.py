"""Put a number on each skip config."""

from .count import Count, count
from .macs import ConfigMacs, MacTable, count_macs

__all__ = ["ConfigMacs", "Count", "MacTable", "count", "count_macs"]
