"""The two passes as a module of Lightning."""

from .module import TwoPassModule

__all__ = ["TwoPassModule"]
