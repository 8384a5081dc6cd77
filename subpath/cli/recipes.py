"""``subpath recipes``: list the recipes that come with the library, and copy one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import recipes as library
from . import options
from .output import said, show, show_json

app = typer.Typer(
    help="List the recipes that come with subpath, or copy one to change it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def list_(context: typer.Context, json: options.Json = False) -> None:
    """List the recipes that come with subpath; `subpath finetune NAME` runs one."""
    if context.invoked_subcommand is not None:
        return
    found = [library.find(name) for name in library.names()]
    if json:
        show_json([{"name": recipe.name, "title": recipe.title} for recipe in found])
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for recipe in found:
        table.add_row(recipe.name, recipe.title)
    show(table)


@app.command()
def copy(
    name: Annotated[
        str, typer.Argument(help="Which recipe.", autocompletion=library.names, show_default=False)
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to write NAME.yaml.", show_default=False)
    ] = Path(),
    json: options.Json = False,
) -> None:
    """Write a recipe into a directory (default: the current one), to change it there."""
    path = library.copy(name, directory)
    if json:
        show_json({"path": str(path)})
    else:
        said(f"Wrote {path}; run it with: subpath finetune {path}")
