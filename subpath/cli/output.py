"""Where the commands write: results on stdout, errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(view: RenderableType) -> None:
    """Print something rich on stdout."""
    from rich.console import Console

    Console(highlight=False).print(view)


def said(message: str) -> None:
    """Print one line on stdout, as it is."""
    sys.stdout.write(f"{message}\n")


def show_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def error(message: str) -> None:
    """Print one message on stderr, wrapped at words on a terminal."""
    _tell("error: ", "bold red", message)


def remark(message: str) -> None:
    """The same of something that stops nothing."""
    _tell("note: ", "bold yellow", message)


def _tell(kind: str, style: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble((kind, style), message), soft_wrap=not console.is_terminal)


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """What a network's own code prints meanwhile goes to stderr."""
    with redirect_stdout(sys.stderr):
        yield
