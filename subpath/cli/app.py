"""The command ``subpath``: every word of it is one library call."""

from __future__ import annotations

import sys
import warnings

import typer

from ..errors import SubpathError
from .evaluate import evaluate
from .finetune import finetune
from .inspect import inspect
from .output import error
from .report import report

app = typer.Typer(
    help="Adaptive depth for any residual network: convert, fine-tune, choose a depth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # what is not a user's error is our bug, and shows itself
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(inspect)
app.command()(report)
app.command()(finetune)
app.command()(evaluate)


def main() -> None:
    """Run the command line; errors of the user end with status 2 and one message on stderr."""
    if not sys.warnoptions:  # about libraries we use, and nothing a user could do about
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
    try:
        app(prog_name="subpath")
    except SubpathError as failure:
        error(str(failure))
        sys.exit(2)
