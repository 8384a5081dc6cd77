"""Read the JSON form of a table strictly: every key and every type is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ChoiceError, SkipConfigError
from ..skip import SkipConfig
from .records import Conditions, MeasuredConfig

Kinds = Mapping[str, tuple[type, ...]]
_NUMBER, _TEXT = (float, int), (str,)
_CONDITIONS: Kinds = {
    "device": _TEXT,
    "threads": (int, type(None)),
    "precision": _TEXT,
    "batch": (int,),
    "runtime": _TEXT,
}
_CONFIG: Kinds = {
    "skip": _TEXT,
    "gmacs": _NUMBER,
    "latency_ms": _NUMBER,
    "latency_from": _TEXT,
    "top1": _NUMBER,
}


def read(data: Any) -> tuple[tuple[MeasuredConfig, ...], Conditions | None]:
    """The configs and conditions that ``MeasuredTable.to_dict()`` gave.

    Raises:
        ChoiceError: ``data`` is something else.
    """
    table = _fields(data, "the table", {"conditions": (dict, type(None)), "configs": (list,)})
    conditions = table["conditions"]
    if conditions is not None:
        conditions = Conditions(**_fields(conditions, "its conditions", _CONDITIONS))
    configs = []
    for place, item in enumerate(table["configs"]):
        entry = _fields(item, f"entry {place} of its configs", _CONFIG, needed=("skip",))
        try:
            configs.append(MeasuredConfig(**{**entry, "skip": SkipConfig(entry["skip"])}))
        except SkipConfigError as error:
            raise ChoiceError(f"got a bad table: entry {place}: {error}") from error
    return tuple(configs), conditions


def _fields(
    data: Any,
    what: str,
    kinds: Kinds,
    needed: Iterable[str] | None = None,
) -> dict[str, Any]:
    """``data`` if it is a dict with no other keys than ``kinds`` and values of their types."""
    if not isinstance(data, dict):
        raise ChoiceError(f"got a bad table: {what} is a {type(data).__name__}; expected a dict")
    wrong = [f"unknown key {key!r}" for key in data if key not in kinds]
    wrong += [f"no {key!r}" for key in (kinds if needed is None else needed) if key not in data]
    for key, value in data.items():
        allowed = kinds.get(key, (object,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and key in kinds):
            names = " or ".join(kind.__name__ for kind in allowed)
            wrong.append(f"{key!r} is a {type(value).__name__}, not {names}")
    if wrong:
        raise ChoiceError(
            f"got a bad table: {what} has {'; '.join(wrong[:5])}. Expected what "
            "MeasuredTable.to_dict() gives"
        )
    return data
