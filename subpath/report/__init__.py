"""What the commands show: rich trees and tables for people, plain documents for ``--json``."""

from .configs import (
    REMARK,
    ConfigRow,
    config_table,
    known,
    remarks,
    report_document,
    report_view,
)
from .formatting import metric_value
from .inspection import inspect_document, inspect_view
from .page import page
from .sensitivity import sensitivity_document, sensitivity_view
from .stages import stages_document, stages_view

__all__ = [
    "REMARK",
    "ConfigRow",
    "config_table",
    "inspect_document",
    "inspect_view",
    "known",
    "metric_value",
    "page",
    "remarks",
    "report_document",
    "report_view",
    "sensitivity_document",
    "sensitivity_view",
    "stages_document",
    "stages_view",
]
