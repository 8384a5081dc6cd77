"""From a budget to a skip config: a table of what each config costs and achieves, and its front.

A :class:`MeasuredTable` is plain frozen data without tensors, which is saved beside the weights.
Choosing from it is a look-up by bisection: microseconds, from any thread.
"""

from .front import pareto_front
from .records import COSTS, Conditions, Cost, MeasuredConfig, Source
from .table import MeasuredTable

__all__ = [
    "COSTS",
    "Conditions",
    "Cost",
    "MeasuredConfig",
    "MeasuredTable",
    "Source",
    "pareto_front",
]
