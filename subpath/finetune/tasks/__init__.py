"""The tasks that recipes may name: what a run learns, each in a file of its own."""

from __future__ import annotations

from .base import Task
from .entries import TASKS, Entry, open_task, recipe_class

__all__ = ["TASKS", "Entry", "Task", "open_task", "recipe_class"]
