"""The page about a sweep: a row for each family, every refusal, and what was checked.

It is made from the records alone and holds neither dates nor times: equal results give equal pages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import zoo
from ..checkpoint import write_atomically
from ..errors import SweepError
from .parity import ALWAYS, MADE, QUESTIONS
from .record import OUTCOMES, Check, Record, by_family, smallest

HEAD = """\
# The zoo

All networks of a library, converted without pretrained weights. This page is made by `subpath zoo`:

```text
{commands}
```

*Refused* networks have nothing to skip; their reasons are below. *Failed* is an error, or a limit
of time or memory that was exceeded. The example is the smallest converted network of a family,
with the number of blocks of each of its stages (an isotropic network is cut into four). *Base-net*
is its share of the super-net's multiply-adds, from the least to the most among the networks of the
family; matrix products and convolutions are counted, for the input size of each network, by the
formulas of `torch.utils.flop_counter`.
"""

STRUCTURE = """\
Asked about every converted network, without numbers. *Same calls*: the super-net makes the same
calls to torch's operators as the untouched network, one by one: on the same weights, the same
values and the same arguments, with the same shapes coming out. *Each stage saves*: skipping any one
stage takes multiply-adds away. *Same keys*: every key of the state dict keeps its name and shape.
"""

NUMBERS = """\
Asked about the smallest converted network of each family, with random weights, a small input,
dropout and stochastic depth. *Same cut*: none of these changes the stages. *Eval*: the super-net's
output is the original's. *Train step*: so are loss, every gradient and every buffer, from one seed.
*Every config*: each skip config runs forward and backward. *Base-net by hand*: the base-net is the
original with its skippable blocks replaced by nothing. The rest is asked of the super-net's
output, or of both. Equal means equal to the last bit. A dash: the original itself cannot do it, or
it cannot be done by hand.
"""


SMALL = """\
Networks of a few narrow blocks with random weights, each with its numbers compared. *Blocks* of
each stage; *runs* from its graph or in place; *base-net*, its share of the super-net's
multiply-adds. *Eval*: the super-net's output is the original's, to the last bit. *Train step*: so
are loss, every gradient and every buffer, from one seed. *Base-net by hand*: the base-net is the
original with its skippable blocks taken out. A dash: the original itself cannot do it.
"""


def write_page(path: Path, records: Iterable[Record]) -> None:
    """Write the page.

    Raises:
        SweepError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page(records))
    except OSError as error:
        raise SweepError(
            f"got an error while writing {path} ({error}); expected a file that can be written"
        ) from error


def page(records: Iterable[Record]) -> str:
    """The page as markdown."""
    libraries: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.name):
        libraries.setdefault(record.library, []).append(record)
    commands = [
        f"subpath zoo --library {library}{' --parity' if any(r.parity for r in known) else ''} "
        "--table docs/zoo.md"
        for library, known in libraries.items()
    ]
    parts = [HEAD.format(commands="\n".join(commands))]
    small = {name: known for name, known in libraries.items() if zoo.library(name).small}
    for library, known in libraries.items():
        if library not in small:
            parts += _library(library, known)
    if small:
        parts += ["## Other libraries\n", SMALL]
    for library, known in small.items():
        parts += _small_library(library, known)
    return "\n".join(parts)


def _library(library: str, records: Sequence[Record]) -> list[str]:
    families = by_family(records)
    parts = [
        f"## {library}\n",
        f"{_versions(records)}: {len(records)} networks in {len(families)} families, "
        f"{_counted(records)}.\n",
        _table(
            ("family", "networks", *WORDS.values(), "example", "base-net", "refused because"),
            [_family(name, members) for name, members in families.items()],
        ),
    ]
    converted = [record for record in records if record.checks]
    if converted:
        parts += [f"### {library}: the same calls\n", STRUCTURE, _answers(converted)]
    compared = [record for record in records if record.parity]
    if compared:
        parts += [f"### {library}: the same numbers\n", NUMBERS, *_parity(compared)]
    for outcome in ("failed", "no-residual"):
        found = [record for record in records if record.outcome == outcome]
        if found:
            parts += [f"### {library}: {WORDS[outcome]}\n", _reasons(found)]
    return parts


def _small_library(library: str, records: Sequence[Record]) -> list[str]:
    """A row for each network: all have had their numbers compared."""
    whys = [(r, title, c) for r in records for title, c in r.checks.items() if not c.passed]
    rows = _table(
        ("network", "blocks", "runs", "base-net", *ALWAYS),
        [
            (
                _title(record),
                record.depths,
                record.run,
                _span([record.ratio] if record.ratio is not None else []),
                *(_word(record.checks.get(title)) for title in ALWAYS),
            )
            for record in records
            if record.outcome == "converted"
        ],
    )
    parts = [
        f"### {library}\n",
        f"{_versions(records)}: {len(records)} networks, {_counted(records)}.\n",
        rows + _notes(whys),
    ]
    for outcome in ("failed", "no-residual"):
        found = [record for record in records if record.outcome == outcome]
        if found:
            parts += [f"#### {library}: {WORDS[outcome]}\n", _reasons(found)]
    return parts


WORDS = dict(zip(OUTCOMES, ("converted", "refused", "failed"), strict=True))


def _versions(records: Sequence[Record]) -> str:
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            versions.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())


def _counted(records: Sequence[Record]) -> str:
    outcomes = Counter(record.outcome for record in records)
    return ", ".join(f"{outcomes[outcome]} {word}" for outcome, word in WORDS.items())


def _family(name: str, records: Sequence[Record]) -> tuple[str, ...]:
    outcomes = Counter(record.outcome for record in records)
    example = smallest(records)
    refused = dict.fromkeys(_cause(r.reason) for r in records if r.outcome == "no-residual")
    return (
        name,
        str(len(records)),
        *(str(outcomes[outcome] or "") for outcome in OUTCOMES),
        f"{_title(example)}: {example.depths}" if example else "",
        _span([record.ratio for record in records if record.ratio is not None]),
        "; ".join(refused),
    )


def _title(record: Record) -> str:
    return f"`{record.name}.{record.part}`" if record.part else f"`{record.name}`"


def _span(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    least, most = f"{min(ratios):.0%}", f"{max(ratios):.0%}"
    return least if least == most else f"{least} to {most}"


def _short(reason: str) -> str:
    """What was found, without what was expected and what to try."""
    found = re.search(r"Found (.+?)(?:\. |$)", reason)
    return _plain(found[1] if found else reason.partition(". ")[0])


def _cause(reason: str) -> str:
    """The same without numbers, which differ from network to network; one is many too."""
    plural = re.sub(r"\b1 (\w+)", r"\1s", _short(reason).rpartition(": ")[2])
    return re.sub(r"\b\d+ ", "", plural)


def _answers(records: Sequence[Record]) -> str:
    titles = dict.fromkeys(title for record in records for title in record.checks)
    rows = []
    for title in titles:
        answers = Counter(r.checks[title].passed for r in records if title in r.checks)
        rows.append((title, *(str(answers[answer] or "") for answer in (True, False, None))))
    whys = [(r, title, c) for r in records for title, c in r.checks.items() if not c.passed]
    return _table(("check", "yes", "no", "cannot be asked"), rows) + _notes(whys)


def _parity(records: Sequence[Record]) -> list[str]:
    rows = [
        (
            record.family,
            _title(record),
            _plain(record.parity[MADE].why) if record.parity[MADE].passed else "",
            *(_word(record.parity.get(title)) for title in QUESTIONS),
        )
        for record in sorted(records, key=lambda record: record.family)
    ]
    whys = [(r, title, c) for r in records for title, c in r.parity.items() if not c.passed]
    return [_table(("family", "network", "input and more", *QUESTIONS), rows) + _notes(whys)]


def _word(check: Check | None) -> str:
    return "" if check is None else {True: "yes", False: "**no**", None: "-"}[check.passed]


def _notes(whys: Iterable[tuple[Record, str, Check]]) -> str:
    """Each reason once, with the networks that gave it."""
    names: dict[tuple[str, Check], list[str]] = {}
    for record, title, check in whys:
        names.setdefault((title, check), []).append(_title(record))
    lines = (
        f"- {'**no**' if check.passed is False else '-'} {title}: {_plain(check.why)} "
        f"({', '.join(who)})\n"
        for (title, check), who in names.items()
    )
    text = "".join(lines)
    return f"\n{text}" if text else ""


def _reasons(records: Sequence[Record]) -> str:
    names: dict[tuple[str, str], list[str]] = {}
    for record in records:
        refused = record.outcome == "no-residual"
        reason = f"found {_short(record.reason)}" if refused else _plain(record.reason)
        names.setdefault((record.family, reason), []).append(_title(record))
    lines = (
        f"- {family}: {reason} ({', '.join(who)})\n"
        for (family, reason), who in sorted(names.items())
    )
    return "".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str) -> str:
    """One line of markdown that shows ``text`` as it is."""
    return " ".join(re.sub(r"([\\`*_<|])", r"\\\1", text).split())
