"""Texts with a label each: from folders, tables, the hub, or Python's own library."""

from __future__ import annotations

import ast
import csv
import json
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ...errors import DataError
from ..section import Section, Share
from .tokens import Tokens, tokens_of, words_of

PACKAGES = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)
MASK = "attention_mask"  # as transformers call it: 1 at tokens that are none of the padding


class LabelledTextSection(Section):
    """What is read, what its labels are, and how it is made tokens."""

    name: Literal["functions", "folder", "table", "hub"] = "functions"
    """``functions``: the functions of nine packages of the Python that runs this, whose package is
    to be told, which needs no download; ``folder``: text files in a folder for each class;
    ``table``: CSV or JSON lines; ``hub``: a data set of the Hugging Face Hub, by ``datasets``."""
    root: str | None = None
    """``folder``: the directory with a folder for each class; ``table``: that with the files."""
    pattern: str = "**/*.txt"
    """``folder``: which files of a class; UTF-8."""
    train: str | None = None
    """``table``: file to learn from, ``.csv`` with names in its first line or ``.jsonl``;
    ``hub``: the data set, for example ``glue``."""
    subset: str | None = None
    """``hub``: for example ``sst2``."""
    train_split: str = "train"
    validation_split: str = "validation"
    """``hub``: the splits."""
    validation_file: str | None = None
    """``table``: the file to hold back; without it, ``validation_share`` of the rows."""
    text: str = "text"
    """``table`` and ``hub``: the column of the text (``sentence`` in SST-2)."""
    pair: str | None = None
    """``table`` and ``hub``: the column of a second text, where two are compared."""
    label: str = "label"
    """``table`` and ``hub``: the column of the class."""
    validation_share: Annotated[Share, Field(gt=0, lt=1)] = 0.2
    """This share of the files (or rows) of each class is held back, drawn with the seed."""
    tokenizer: str = "words"
    """``words`` (those of the training texts), or a tokenizer of transformers: a directory, or a
    name of the hub."""
    vocabulary: Annotated[int, Field(gt=3)] = 4000
    """``words``: how many, at most."""
    length: Annotated[int, Field(gt=1)] = 128
    """Tokens of a text at most; the rest is cut off."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data; 0 loads in the main process."""

    @model_validator(mode="after")
    def _complete(self) -> LabelledTextSection:
        if (self.name in ("folder", "table")) != (self.root is not None):
            raise ValueError("expected a root with the names folder and table, and only then")
        if (self.name in ("table", "hub")) != (self.train is not None):
            raise ValueError("expected train with the names table and hub, and only then")
        return self


@dataclass(frozen=True)
class Labelled:
    """A text.

    Attributes:
        text: itself.
        label: its class.
        source: where it is from; texts of one source are held back together.
        pair: a second text.
    """

    text: str
    label: str | int
    source: str
    pair: str | None = None


class Texts(Dataset[tuple[dict[str, Tensor], int]]):
    """Pairs of the inputs of one text, a row of tokens each, and its class.

    Args:
        texts: what they are made of.
        classes: in the order of their numbers.
        tokens: makes inputs of them.
    """

    def __init__(
        self, texts: Sequence[Labelled], classes: Sequence[str | int], tokens: Tokens
    ) -> None:
        numbers = {label: number for number, label in enumerate(classes)}
        unknown = sorted({str(one.label) for one in texts if one.label not in numbers})
        if unknown:
            raise DataError(
                f"got the labels {', '.join(unknown[:4])} in what is held back; expected those of "
                f"the training texts: {', '.join(map(str, classes[:8]))}"
            )
        self._targets = [numbers[one.label] for one in texts]
        self._inputs = [tokens.encode(one.text, one.pair) for one in texts]

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        rows = {name: torch.tensor(ids) for name, ids in self._inputs[index].items()}
        return rows, self._targets[index]


def filled_up(
    pairs: list[tuple[dict[str, Tensor], int]], padding: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Texts filled up to the longest of them, with a mask that tells which tokens are theirs."""
    inputs, targets = zip(*pairs, strict=True)
    batch = {
        name: pad_sequence(
            [row[name] for row in inputs], True, padding if name == "input_ids" else 0
        )
        for name in inputs[0]
    }
    ones = [torch.ones_like(row["input_ids"]) for row in inputs]
    return {**batch, MASK: pad_sequence(ones, batch_first=True)}, torch.tensor(targets)


def open_texts(
    section: LabelledTextSection, seed: int
) -> tuple[Texts, Texts, Sequence[str | int], Tokens]:
    """Texts to learn from, texts that are held back, the classes and the tokens.

    Raises:
        DataError: there is no such text, or too little; or no such tokenizer.
    """
    train, held_back = _split(section, seed)
    if not train or not held_back:
        raise DataError(
            f"got {len(train)} texts to learn from and {len(held_back)} to hold back from "
            f"{section.root or section.train or section.name}; expected some of each. Set "
            "data.root, data.pattern or data.validation_share"
        )
    classes = sorted(
        {one.label for one in train}, key=lambda label: (isinstance(label, str), label)
    )
    if len(classes) < 2:
        raise DataError(f"got texts of one class, {classes[0]!r}; expected two at least")
    if section.tokenizer == "words":
        texts = [text for one in train for text in (one.text, one.pair or "")]
        tokens = words_of(texts, section.vocabulary, section.length)
    else:
        tokens = tokens_of(section.tokenizer, section.length)
    return Texts(train, classes, tokens), Texts(held_back, classes, tokens), classes, tokens


def _split(section: LabelledTextSection, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    if section.name == "hub":
        return _hub(section, section.train_split), _hub(section, section.validation_split)
    if section.name == "table":
        texts = _table(section, str(section.train))
        if section.validation_file is not None:
            return texts, _table(section, section.validation_file)
    else:
        texts = list(functions() if section.name == "functions" else _folder(section))
    sources: dict[str | int, dict[str, None]] = {}
    for one in texts:
        sources.setdefault(one.label, {})[one.source] = None
    random, held_back = np.random.default_rng(seed), set()
    for of_class in sources.values():
        names = list(of_class)
        count = min(max(round(section.validation_share * len(names)), 1), len(names) - 1)
        held_back |= {names[number] for number in random.permutation(len(names))[:count]}
    return (
        [one for one in texts if one.source not in held_back],
        [one for one in texts if one.source in held_back],
    )


def functions() -> Iterator[Labelled]:
    """The functions of some packages of Python's standard library, in order of path.

    The label of each is its package, and its source its file.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if {"test", "tests"} & set(path.relative_to(root).parts):
                continue
            content = path.read_text(encoding="utf-8")
            lines = content.split("\n")
            for node in ast.walk(ast.parse(content)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                    yield Labelled(text, package, str(path))


def _folder(section: LabelledTextSection) -> Iterator[Labelled]:
    root = Path(section.root or "")
    for folder in sorted(root.glob("*/")):
        for path in sorted(folder.glob(section.pattern)):
            if path.is_file():
                yield Labelled(_read(path), folder.name, str(path))


def _table(section: LabelledTextSection, name: str) -> list[Labelled]:
    path = Path(section.root or "") / name
    content = _read(path)
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in content.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(content.splitlines(keepends=True)))
    except (csv.Error, ValueError) as error:
        raise DataError(
            f"got {path}, which cannot be read ({error}); expected .csv with names in its first "
            "line, or .jsonl with an object on each"
        ) from error
    return [_labelled(section, row, f"{path}:{number}") for number, row in enumerate(rows, 1)]


def _hub(section: LabelledTextSection, split: str) -> list[Labelled]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(
            "got data.name: hub, but datasets is not installed; expected pip install datasets"
        ) from error
    try:
        rows = load_dataset(section.train, section.subset, split=split)
    except Exception as error:  # files and networks fail in many ways
        told = " ".join(part for part in (section.train, section.subset) if part)
        raise DataError(
            f"got the split {split!r} of {told}, which datasets cannot load "
            f"({type(error).__name__}: {error}); expected a data set of the hub and a connection "
            "to it, or one that was downloaded before"
        ) from error
    return [_labelled(section, row, f"{split}:{number}") for number, row in enumerate(rows)]


def _labelled(section: LabelledTextSection, row: Mapping[str, Any], source: str) -> Labelled:
    columns = [section.text, section.label, *([section.pair] if section.pair else [])]
    missing = [column for column in columns if row.get(column) is None]
    if missing:
        raise DataError(
            f"got no {', '.join(missing)} in {source}, which has {', '.join(map(str, row))}; "
            "expected the columns that data.text, data.pair and data.label name"
        )
    pair = str(row[section.pair]) if section.pair else None
    label = row[section.label]
    return Labelled(str(row[section.text]), label, source, pair)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"got {path}, which cannot be read ({error}); expected UTF-8") from error
