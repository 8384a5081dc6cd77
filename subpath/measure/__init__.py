"""Put a number on each skip config."""

from .configs import useful_configs
from .count import Count, count
from .inputs import InputShapes, input_shapes, of_batch, shapes_as_document, shapes_in_words
from .latency import latency
from .latency_table import ConfigLatency, LatencyTable
from .macs import ConfigMacs, MacTable, count_macs
from .measured import measured_table, with_saved_latency
from .parts import Part, Parts, parts_of
from .sensitivity import BlockSensitivity, Sensitivity, sensitivity

__all__ = [
    "BlockSensitivity",
    "ConfigLatency",
    "ConfigMacs",
    "Count",
    "InputShapes",
    "LatencyTable",
    "MacTable",
    "Part",
    "Parts",
    "Sensitivity",
    "count",
    "count_macs",
    "input_shapes",
    "latency",
    "measured_table",
    "of_batch",
    "parts_of",
    "sensitivity",
    "shapes_as_document",
    "shapes_in_words",
    "useful_configs",
    "with_saved_latency",
]
