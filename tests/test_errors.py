"""Errors: one tree, each with a sentence on when it happens."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import subpath
from subpath import errors
from subpath.errors import SubpathError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]
PACKAGE = Path(subpath.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("error", CLASSES)
def test_one_tree(error: type[Exception]) -> None:
    assert issubclass(error, SubpathError)
    assert error.__doc__


@pytest.mark.parametrize("error", [e for e in CLASSES if e is not SubpathError])
def test_each_error_is_raised_somewhere(error: type[Exception]) -> None:
    raised = any(
        isinstance(node, ast.Name) and node.id == error.__name__
        for source in SOURCES
        if source.name != "errors.py"
        for node in ast.walk(ast.parse(source.read_text()))
    )
    assert raised or error.__subclasses__()


def messages() -> list[tuple[str, str]]:
    """The literal text of every error of the tree that the package raises, with its place."""
    names = {error.__name__ for error in CLASSES}
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id not in names or not node.args:
                    continue
                parts = [
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                if parts:
                    found.append((f"{source.relative_to(PACKAGE)}:{node.lineno}", "".join(parts)))
    return found


def test_there_are_messages() -> None:
    assert len(messages()) > 20


@pytest.mark.parametrize(("place", "message"), messages(), ids=lambda value: str(value)[:30])
def test_messages_say_what_was_got(place: str, message: str) -> None:
    carries_another_message = message.endswith(": ")
    assert message.startswith("got ") or carries_another_message, place
