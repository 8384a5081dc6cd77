"""A sweep: examine the networks that are not known yet, and write down each at once."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .. import zoo
from ..errors import ModelError, SweepError
from .callback import Callback, NoCallback
from .parity import MADE
from .pool import COMMAND, Done, Limits, Pool
from .record import Check, Record, by_family, checks_from, smallest
from .results import Results
from .structure import blank


def installed(libraries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of some libraries that are installed, and for each other one what to install.

    Raises:
        ModelError: one of them is not known.
    """
    here, missing = [], []
    for name in libraries:
        library = zoo.library(name)
        try:
            library.version  # noqa: B018
        except ModelError as error:
            missing.append(str(error))
        else:
            here.append(name)
    return here, missing


def choose(
    libraries: Sequence[str], patterns: Sequence[str] = (), family: str | None = None
) -> dict[str, list[str]]:
    """The networks of each library whose names match one of ``patterns``.

    Args:
        libraries: keys of :data:`subpath.zoo.LIBRARIES`.
        patterns: names, with ``*`` for any letters; none for all networks.
        family: only networks of this family.

    Raises:
        SweepError: a pattern matches no name, or there is no such family.
    """
    found = {}
    families: set[str] = set()
    for library in libraries:
        known = zoo.library(library)
        by_name = {name: known.family(name) for name in known.names()}
        families |= set(by_name.values())
        found[library] = [n for n in by_name if family is None or by_name[n] == family]
    whose = " and ".join(libraries)
    if family is not None and family not in families:
        raise SweepError(
            f"got the family {family!r}; expected one of {whose}'s: {', '.join(sorted(families))}"
        )
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for names in found.values() for name in names):
            raise SweepError(
                f"got {pattern!r}, which is the name of no network of {whose}"
                f"{f' in the family {family}' if family else ''}; expected a name, or a pattern "
                "in quotes as 'resnet*'"
            )
    chosen = {
        library: [name for name in names if not patterns or _matches(name, patterns)]
        for library, names in found.items()
    }
    return {library: names for library, names in chosen.items() if names}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def sweep(
    library: str,
    names: Sequence[str],
    results: Results,
    *,
    parity: bool = False,
    workers: int = 1,
    limits: Limits | None = None,
    callback: Callback | None = None,
    command: Sequence[str] = COMMAND,
) -> list[Record]:
    """Examine networks in worker processes and write a record of each.

    What ``results`` holds already is not done again, unless the library has changed since.

    Args:
        library: a key of :data:`subpath.zoo.LIBRARIES`.
        names: the networks.
        results: what is known, and where new records are written.
        parity: compare numbers as well, for the smallest of the networks in each family that are
            converted (the one with the fewest multiply-adds).
        workers: how many processes.
        limits: for each network.
        callback: is told what happens.
        command: starts a worker.

    Returns:
        The records of ``names``, in that order.

    Raises:
        SweepError: workers cannot be started, or the results cannot be written.
        ModelError: the library is not installed.
    """
    callback = callback or NoCallback()
    with Pool(workers, limits or Limits(), callback, command) as pool:
        rounds = _Rounds(library, pool, results, callback)
        records = rounds.structure(names)
        if parity:
            chosen = (smallest(family) for family in by_family(records).values())
            rounds.parity([record for record in chosen if record])
    return [record for name in names if (record := results.get(library, name))]


class _Rounds:
    def __init__(self, library: str, pool: Pool, results: Results, callback: Callback) -> None:
        self._library = library
        self._pool = pool
        self._results = results
        self._callback = callback

    def structure(self, names: Sequence[str]) -> list[Record]:
        """Examine each network without its numbers."""
        current = blank(self._library, names[0]).versions if names else {}
        found = (self._results.get(self._library, name) for name in names)
        known = [record for record in found if record and record.versions == current]
        missing = [name for name in names if name not in {record.name for record in known}]
        done = self._round("structure", known, missing, _examined)
        return [*known, *done]

    def parity(self, records: Sequence[Record]) -> None:
        """Compare numbers of these networks."""
        known = [record for record in records if record.parity]
        missing = {record.name: record for record in records if not record.parity}
        self._round("parity", known, list(missing), lambda done: _compared(missing, done))

    def _round(
        self,
        kind: str,
        known: Sequence[Record],
        names: Sequence[str],
        record_of: Callable[[Done], Record],
    ) -> list[Record]:
        tasks = [{"kind": kind, "library": self._library, "name": name} for name in names]
        made = []
        self._callback.begin(f"{self._library}, {kind}", len(known) + len(names), known)
        try:
            for done in self._pool.run(tasks):
                record = record_of(done)
                self._results.append(record)
                self._callback.done(done.worker, record)
                made.append(record)
        finally:
            self._callback.end()
        return made


def _examined(done: Done) -> Record:
    if not done.trouble:
        return Record.from_dict(done.answer)
    record = blank(done.task["library"], done.task["name"])
    return replace(record, reason=done.trouble, seconds=round(done.seconds, 2))


def _compared(records: Mapping[str, Record], done: Done) -> Record:
    checks = checks_from(done.answer) if not done.trouble else {MADE: Check(False, done.trouble)}
    return records[done.task["name"]].with_parity(checks, done.seconds)
