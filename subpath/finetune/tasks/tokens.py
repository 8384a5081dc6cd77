"""Tokens of texts: words of a vocabulary of their own, or those of a transformers tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DataError

WORD = re.compile(r"\w+|[^\w\s]")
PADDING, UNKNOWN, BETWEEN = 0, 1, 2  # before the words; the last stands between two texts

Encode = Callable[[str, str | None], Mapping[str, Sequence[int]]]
"""From a text, and perhaps another, to a row of numbers for each input of a network."""


@dataclass(frozen=True)
class Tokens:
    """How texts become inputs.

    Attributes:
        encode: makes the inputs of a text; ``input_ids`` is one of them.
        vocabulary: how many tokens there are.
        padding: the token that fills up a batch.
    """

    encode: Encode
    vocabulary: int
    padding: int


def words_of(texts: Iterable[str], size: int, length: int) -> Tokens:
    """The ``size`` most frequent words and signs of some texts; others are one token, unknown."""
    counts = Counter(word for text in texts for word in WORD.findall(text))
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: size - BETWEEN - 1]
    numbers = {word: number for number, word in enumerate(frequent, BETWEEN + 1)}

    def encode(text: str, other: str | None) -> Mapping[str, Sequence[int]]:
        ids = [numbers.get(word, UNKNOWN) for word in WORD.findall(text)]
        if other is not None:
            ids += [BETWEEN, *(numbers.get(word, UNKNOWN) for word in WORD.findall(other))]
        return {"input_ids": ids[:length]}

    return Tokens(encode, len(numbers) + BETWEEN + 1, PADDING)


def tokens_of(name: str, length: int) -> Tokens:
    """Those of a tokenizer of transformers, cut to a length.

    Raises:
        DataError: there is none of that name, or it cannot fill up a batch.
    """
    tokenizer = load_tokenizer(name)
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"got data.tokenizer: {name}, which has no token to fill up a batch with; expected one "
            "with a pad_token: set it (tokenizer.pad_token = tokenizer.eos_token), save it with "
            "tokenizer.save_pretrained(DIR), and name DIR"
        )

    def encode(text: str, other: str | None) -> Mapping[str, Sequence[int]]:
        found = tokenizer(text, other, truncation=True, max_length=length)
        return {key: ids for key, ids in found.items() if key != "attention_mask"}

    return Tokens(encode, len(tokenizer), tokenizer.pad_token_id)


def load_tokenizer(name: str) -> Any:
    """A tokenizer of transformers.

    Raises:
        DataError: transformers is not installed, or has no tokenizer of that name.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError(
            f"got data.tokenizer: {name}, but transformers is not installed; expected a tokenizer "
            "that comes with the library (bytes, words), or pip install 'subpath[transformers]'"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:  # files and networks fail in many ways
        raise DataError(
            f"got data.tokenizer: {name}, which transformers cannot load "
            f"({type(error).__name__}: {error}); expected a tokenizer that comes with the library "
            "(bytes, words), a directory, or a name of the hub"
        ) from error


def own_arguments(name: str, tokens: Mapping[str, int]) -> dict[str, int]:
    """What a network is told of the tokens; one that is loaded with its weights knows them."""
    return {} if name.endswith(".from_pretrained") else dict(tokens)
