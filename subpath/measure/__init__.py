"""Put a number on each skip config."""

from .configs import useful_configs
from .count import Count, count
from .macs import ConfigMacs, MacTable, count_macs

__all__ = ["ConfigMacs", "Count", "MacTable", "count", "count_macs", "useful_configs"]
