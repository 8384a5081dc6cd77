"""The command ``subpath``: every word of it is one library call."""

from __future__ import annotations

import gc
import sys
import warnings

import typer

from ..errors import SubpathError
from .diagnose import diagnose
from .doctor import doctor
from .draw import draw
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .inspect import inspect
from .lasting import lasting
from .output import error
from .plot import plot
from .recipes import app as recipes
from .report import report
from .zoo import zoo

app = typer.Typer(
    help="Adaptive depth for any residual network: convert, fine-tune, choose a depth.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help and usage errors take half the time to show
    pretty_exceptions_enable=False,  # what is not a user's error is our bug, and shows itself
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Show how a network is cut: stages, blocks, twin norms.")(inspect)
app.command(short_help="Draw which blocks of a network can be skipped.")(draw)
app.command(short_help="Show cost, accuracy and latency of each config.")(
    lasting(report, only_with="latency")
)
app.command(short_help="Plot accuracy of all configs against cost.")(plot)
app.command(short_help="Train super-net and base-net from a recipe.")(lasting(finetune))
app.add_typer(recipes, name="recipes", short_help="List the included recipes, or copy one.")
app.command(short_help="Show what each block of a network contributes.")(lasting(diagnose))
app.command(short_help="Measure accuracy on the validation data of a run.")(lasting(evaluate))
app.command(short_help="Export to ONNX or torch.export.")(lasting(export))
app.command(short_help="Convert and check every network of a library.")(lasting(zoo))
app.command(short_help="Show versions and devices, for a bug report.")(doctor)


def main() -> None:
    """Run the command line; errors of the user end with status 2 and one message on stderr."""
    if not sys.warnoptions:  # about libraries we use, and nothing a user could do about
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
    collecting = gc.isenabled()
    gc.disable()  # commands that last turn it on again
    try:
        app(prog_name="subpath")
    except SubpathError as failure:
        error(str(failure))
        sys.exit(2)
    finally:
        if collecting:
            gc.enable()
