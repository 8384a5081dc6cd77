"""The two passes in the Trainer of transformers."""

from .settings import TwoPassSettings
from .trainer import TwoPassTrainer

__all__ = ["TwoPassSettings", "TwoPassTrainer"]
