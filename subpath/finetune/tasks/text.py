"""Text: found, made tokens, cut into pieces of one length."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import DataError
from ..section import Section, Share
from .tokens import load_tokenizer

BYTES = 256


class TextSection(Section):
    """What is read, and how it is cut."""

    name: Literal["docstrings", "files"] = "docstrings"
    """``docstrings``: the documentation strings of the Python that runs this, which needs no
    download; ``files``: text files of yours."""
    root: str | None = None
    """The directory with the files."""
    pattern: str = "**/*.txt"
    """Which files under ``root``; UTF-8."""
    validation_share: Annotated[Share, Field(gt=0, lt=1)] = 0.1
    """This share of the files, drawn with the seed, is for validation."""
    tokenizer: str = "bytes"
    """``bytes`` (256 tokens), or a tokenizer of transformers: a directory, or a name of the hub."""
    length: Annotated[int, Field(gt=1)] = 128
    """Tokens in a piece."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data; 0 loads in the main process."""

    @model_validator(mode="after")
    def _complete(self) -> TextSection:
        if (self.name == "files") != (self.root is not None):
            raise ValueError("expected a root with the name files, and only then")
        return self


class Pieces(Dataset[tuple[Tensor, Tensor]]):
    """Pieces of one length; each is input and target at once.

    Args:
        tokens: all of the text, one after another; what is left over is not used.
        length: of a piece.
    """

    def __init__(self, tokens: NDArray[Any], length: int) -> None:
        count = len(tokens) // length
        self._pieces = tokens[: count * length].reshape(count, length)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(self._pieces[index].astype(np.int64))
        return ids, ids


def open_text(section: TextSection, seed: int) -> tuple[Pieces, Pieces, int]:
    """Pieces for training, pieces for validation, and the number of tokens there are.

    Raises:
        DataError: there are too few files or too little text, or there is no such tokenizer.
    """
    texts = list(docstrings() if section.name == "docstrings" else _files(section))
    if len(texts) < 2:
        raise DataError(
            f"got {len(texts)} files that match {section.pattern!r} in {section.root}; expected at "
            "least two, as whole files are kept for validation. Set data.root or data.pattern"
        )
    order = np.random.default_rng(seed).permutation(len(texts))
    count = min(max(round(section.validation_share * len(texts)), 1), len(texts) - 1)
    encode, vocabulary = _tokenizer(section.tokenizer)
    parts = []
    for numbers in (np.sort(order[count:]), np.sort(order[:count])):
        pieces = Pieces(encode([texts[number] for number in numbers]), section.length)
        if len(pieces) == 0:
            raise DataError(
                f"got {len(numbers)} files with less than {section.length} tokens; expected at "
                "least one piece for training and one for validation. Lower data.length"
            )
        parts.append(pieces)
    return parts[0], parts[1], vocabulary


def docstrings() -> Iterator[str]:
    """The documentation strings of each module of Python's standard library, in order of path.

    A module is the text of one file: its strings, each with the name of what it documents.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "test", "tests", "idlelib", "lib2to3"}
    for path in sorted(root.rglob("*.py")):
        if left_out & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # files that are no Python on purpose
            continue
        found = [
            f"{getattr(node, 'name', path.stem)}:\n{text}\n"
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and (text := ast.get_docstring(node))
        ]
        if found:
            yield "\n".join(found)


def _files(section: TextSection) -> Iterator[str]:
    root = Path(section.root or "")
    for path in sorted(root.glob(section.pattern)):
        if not path.is_file():
            continue
        try:
            yield path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"got {path}, which cannot be read ({error}); expected text in UTF-8"
            ) from error


def _tokenizer(name: str) -> tuple[Callable[[Sequence[str]], NDArray[Any]], int]:
    """What makes tokens of texts, and how many there are."""
    if name == "bytes":
        return lambda texts: np.frombuffer("\n".join(texts).encode(), np.uint8), BYTES
    tokenizer = load_tokenizer(name)

    def encode(texts: Sequence[str]) -> NDArray[Any]:
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return np.asarray([token for ids in found for token in [*ids, *end]], np.int32)

    return encode, len(tokenizer)
