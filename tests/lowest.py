"""Prints constraints that hold every dependency at the lowest version that pyproject.toml allows.

python tests/lowest.py > lowest.txt && pip install -e '.[dev]' -c lowest.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def constraints() -> list[str]:
    """``name==version`` for each dependency with a lower bound, of the package and its extras."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())[
        "project"
    ]
    wanted = [*project["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        wanted += extra if name != "libraries" else []
    found = (re.fullmatch(r"([\w.-]+)>=([\w.]+)", dependency) for dependency in wanted)
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(constraints()))
