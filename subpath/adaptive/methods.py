"""Methods of the adaptive model that higher rooms define.

This room may not import them. ``subpath/__init__.py``, which sees all rooms, puts them here; each
loads its room when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

METHODS: dict[str, Callable[..., Any]] = {}
