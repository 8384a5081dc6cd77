"""Adaptive depth for any residual network: convert, fine-tune, choose a depth for each call."""

from .adaptive.model import AdaptiveModel
from .convert import convert, plan

__all__ = ["AdaptiveModel", "convert", "plan"]
