"""JSON from strangers: of bounded size and depth, each key once, all numbers finite."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

MAX_BYTES = 2**24
MAX_DEPTH = 32

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, too deep, or no JSON that means one thing alone.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return parse(content.decode("utf-8"))


def parse(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: it is too deep, or no JSON that means one thing alone.
    """
    _check_depth(text)
    value = json.loads(
        text,
        object_pairs_hook=_each_once,
        parse_constant=_finite,
        parse_float=_finite,
        parse_int=_small,
    )
    # A lone surrogate is no character: it could not even be printed in an error.
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _check_depth(text: str) -> None:
    # Counted beforehand: Python's parser recurses, and its limit is not ours to use up.
    depth = 0
    for bracket in re.finditer(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} is given twice")
        content[key] = value
    return content


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {number}")
    return value


def _small(number: str) -> int:
    if len(number) > 18:  # a float could not hold it, or not exactly
        raise ValueError(f"it holds the number {number[:18]}... of {len(number)} digits")
    return int(number)
