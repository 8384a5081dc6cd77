"""The tutorial as a notebook that was executed, and a link that opens it elsewhere.

``python docs/_ext/notebook.py`` (extra ``notebook``) makes ``docs/tutorial.ipynb`` from
``docs/tutorial.md`` and runs it. ``tests/test_notebook.py`` compares it with what the page says and
prints. On the site, ``{notebook} tutorial.ipynb`` links to the file and, where the site is built
from a repository on GitHub, to Colab.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parents[1]
PAGE, NOTEBOOK = DOCS / "tutorial.md", DOCS / "tutorial.ipynb"
INSTALL = "%pip install -q 'subpath[onnx,quickstart]'"


class Notebook(SphinxDirective):
    """``{notebook} FILE``: links to it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A line of links."""
        name = self.arguments[0]
        links = [f"{{download}}`Download this page as an executed notebook <{name}>`"]
        repository = os.environ.get("GITHUB_REPOSITORY")  # owner/name, set by GitHub Actions
        if repository:
            branch = os.environ.get("GITHUB_REF_NAME", "main")
            colab = "https://colab.research.google.com/github"
            links.insert(0, f"[Open in Colab]({colab}/{repository}/blob/{branch}/docs/{name})")
        return self.parse_text_to_nodes(" · ".join(links))


def cells(page: str) -> list[tuple[str, str]]:
    """Kind (``markdown`` or ``code``) and source of each cell that a page of Markdown makes."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^(```python\n.*?^```\n)", page, flags=re.M | re.S):
        code = re.fullmatch(r"```python\n(.*)```\n", part, flags=re.S)
        if code is not None:
            found.append(("code", code[1].strip()))
            continue
        text = re.sub(r"^```\{notebook\}.*?^```\n", "", part, flags=re.M | re.S)
        text = re.sub(r"\[([^]]+)\]\([\w-]+\.md[^)]*\)", r"\1", text)  # pages are not there
        before, install, after = text.partition("```text\npip install")
        found.append(("markdown", before.strip()))
        if install:
            found += [("code", INSTALL), ("markdown", after.partition("```\n")[2].strip())]
    return [(kind, source) for kind, source in found if source]


def notebook(page: str) -> dict[str, Any]:
    """The notebook, not executed."""
    made = []
    for number, (kind, source) in enumerate(cells(page)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def main() -> None:
    """Make the notebook and run it here, with what is installed."""
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.from_dict(notebook(PAGE.read_text()))  # type: ignore[no-untyped-call]
    install = next(cell for cell in made.cells if cell.source == INSTALL)
    install.source = "pass"
    NotebookClient(made, timeout=600, kernel_name="python3").execute()
    install.source = INSTALL
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # warnings of this machine are no part of it
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    NOTEBOOK.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def setup(app: Sphinx) -> None:
    """Add the directive."""
    app.add_directive("notebook", Notebook)


if __name__ == "__main__":
    main()
