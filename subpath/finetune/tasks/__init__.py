"""The tasks that recipes may name: what a run learns, each in a file of its own."""

from __future__ import annotations

from .base import Task
from .entries import TASKS, Entry, open_task, recipe_class
from .pairs import PairsTask

__all__ = ["TASKS", "Entry", "PairsTask", "Task", "open_task", "recipe_class"]
