"""The plan: which blocks of which stage are mandatory, which skippable, which norms get twins."""

from .cut import Skippable
from .make import make_plan
from .plan import Addition, HandBack, Opaque, Patch, Plan, Run, StageEnd, StagePlan, TwinNorm
from .skip_aware import Twins

__all__ = [
    "Addition",
    "HandBack",
    "Opaque",
    "Patch",
    "Plan",
    "Run",
    "Skippable",
    "StageEnd",
    "StagePlan",
    "TwinNorm",
    "Twins",
    "make_plan",
]
