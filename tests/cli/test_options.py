"""Words of the command line as values."""

from __future__ import annotations

import pytest

from subpath.cli.options import Cut, parse_arguments, parse_cut, parse_input_size
from subpath.errors import SubpathError


def test_input_size() -> None:
    assert parse_input_size(None) is None
    assert parse_input_size("3,224,160") == (3, 224, 160)
    assert parse_input_size("3x224x160") == (3, 224, 160)
    assert parse_input_size("16") == (16,)


@pytest.mark.parametrize("text", ["", "3,,4", "3;4", "3,-4,4", "0,4,4", "a"])
def test_wrong_input_size(text: str) -> None:
    with pytest.raises(SubpathError, match="3,224,224"):
        parse_input_size(text)


def test_cut() -> None:
    assert parse_cut(None, None, None, "mandatory") == Cut()
    assert parse_cut(2, "1", None, "all") == Cut(groups=2, skippable=1, twin_norms="all")
    assert parse_cut(None, "0.5,1", "a.1, b.2", "none") == Cut(
        skippable=[0.5, 1], blocks=["a.1", "b.2"], twin_norms="none"
    )
    assert isinstance(parse_cut(None, "1,1.0", None, "none").skippable[1], float)


def test_arguments_are_json_or_text() -> None:
    pairs = ["a=1", "b=0.5", "c=true", "d=text", "e=[1, 2]", "f=x=y"]
    assert parse_arguments(pairs) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
        "e": [1, 2],
        "f": "x=y",
    }
    assert parse_arguments(None) == {}
    with pytest.raises(SubpathError, match="KEY=VALUE"):
        parse_arguments(["=1"])
