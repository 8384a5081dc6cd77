"""The file of a sweep: a record a line, appended at once, so that an interruption costs none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..checkpoint import write_atomically
from ..errors import SweepError
from .record import Record

Key = tuple[str, str]


class Results:
    """The records of a file, by library and name; where a network has several, the last counts."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that was cut off is passed over.

        Raises:
            SweepError: the file cannot be read, or holds something else.
        """
        self.path = path
        self._records: dict[Key, Record] = {}
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise SweepError(
                f"got {path}, which cannot be read ({error}); expected a file that a sweep wrote"
            ) from error
        *lines, rest = text.split("\n")
        self._to_rewrite = bool(rest) or not path.exists()
        for number, line in enumerate(lines, 1):
            self._know(self._parsed(line, number))

    @property
    def records(self) -> tuple[Record, ...]:
        """In the order in which the networks were first examined."""
        return tuple(self._records.values())

    def get(self, library: str, name: str) -> Record | None:
        """The record of one network, if there is one."""
        return self._records.get((library, name))

    def append(self, record: Record) -> None:
        """Write one record; it is in the file when this returns.

        Raises:
            SweepError: the file cannot be written.
        """
        self._know(record)
        try:
            if self._to_rewrite:
                self._rewrite()
            else:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(_line(record))
        except OSError as error:
            raise SweepError(
                f"got an error while writing {self.path} ({error}); expected a file that can be "
                "written. What was there before is still there"
            ) from error

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop the records of these networks; the file follows with the next one written."""
        for key in keys:
            if self._records.pop(key, None) is not None:
                self._to_rewrite = True

    def _know(self, record: Record) -> None:
        self._records[record.library, record.name] = record

    def _rewrite(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(map(_line, self.records)))
        self._to_rewrite = False

    def _parsed(self, line: str, number: int) -> Record:
        try:
            return Record.from_dict(json.loads(line))
        except ValueError as error:
            raise SweepError(
                f"got line {number} of {self.path} that is no record of a network ({error}); "
                "expected a file that a sweep wrote. Give another one, or move this one away"
            ) from error


def _line(record: Record) -> str:
    return json.dumps(record.to_dict()) + "\n"
