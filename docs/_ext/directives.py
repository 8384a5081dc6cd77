"""Directives for pages that show what the code says: help of commands, keys of recipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective


class Help(SphinxDirective):
    """``{help} WORDS``: what ``subpath WORDS --help`` prints."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The words, as typed, and what they print."""
        words = ["subpath", *self.arguments[0].split(), "--help"]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            check=True,
            env={**os.environ, "COLUMNS": "88"},
            text=True,
        )
        text = f"$ {' '.join(words)}\n{done.stdout.strip()}"
        return [nodes.literal_block(text, text, language="text")]


class Keys(SphinxDirective):
    """``{keys} module.Section``: a table of the keys of a recipe's section."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        module, _, name = self.arguments[0].rpartition(".")
        section: type[BaseModel] = getattr(import_module(module), name)
        rows = ["| key | default | meaning |", "| --- | --- | --- |", *_rows(section)]
        return self.parse_text_to_nodes("\n".join(rows))


def _rows(section: type[BaseModel]) -> Iterator[str]:
    docs = ModuleAnalyzer.for_module(section.__module__).find_attr_docs()
    for name, field in section.model_fields.items():
        said = " ".join(docs.get((section.__name__, name), ())).strip()
        inner = _section(field.annotation)
        if inner is not None:
            said = said or (inner.__doc__ or "").partition("\n")[0]
            default = "none" if field.default is None else "as below"
        else:
            default = f"`{_plain(field.get_default(call_default_factory=True))}`"
        meaning = f"{_choices(field.annotation)} {said}".strip().replace("|", "\\|")
        yield f"| `{name}` | {'**required**' if field.is_required() else default} | {meaning} |"


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if it does."""
    kinds = (annotation, *get_args(annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _choices(annotation: Any) -> str:
    """The words that a field takes, if there are some."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            return ", ".join(f"`{word}`" for word in get_args(kind)) + "."
    return ""


def _plain(value: Any) -> str:
    """As in YAML."""
    words = {None: "null", True: "true", False: "false"}
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return words[value] if value is None or isinstance(value, bool) else str(value)


def setup(app: Sphinx) -> None:
    """Add the directives."""
    app.add_directive("help", Help)
    app.add_directive("keys", Keys)
