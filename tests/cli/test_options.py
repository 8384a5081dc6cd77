"""Words of the command line as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from subpath.cli.options import Cut, parse_arguments, parse_cut
from subpath.errors import SubpathError


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


def test_arguments_in_one_object(tmp_path: Path) -> None:
    text = '{"hidden_size": 64, "text_config": {"layers": [1, 2]}}'
    expected = {"hidden_size": 64, "text_config": {"layers": [1, 2]}}
    assert parse_arguments(None, text) == expected
    assert parse_arguments(["depth=2"], text) == {**expected, "depth": 2}
    file = tmp_path / "config.json"
    file.write_text(text)
    assert parse_arguments(None, f"@{file}") == expected


@pytest.mark.parametrize(
    ("pairs", "text", "said"),
    [
        (None, "[1]", "expected an object"),
        (None, "{a: 1}", "no JSON"),
        (None, "@nowhere.json", "cannot be read"),
        (["a=1"], '{"a": 2}', "in one of them"),
    ],
)
def test_wrong_objects(pairs: list[str] | None, text: str, said: str) -> None:
    with pytest.raises(SubpathError, match=said) as caught:
        parse_arguments(pairs, text)
    assert "--model-args" in str(caught.value)
