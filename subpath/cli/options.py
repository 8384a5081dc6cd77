"""The arguments and options that commands share, and how their words become values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..errors import PlanError, SubpathError

MODEL_HELP = (
    "A timm name (resnet50), or package.module:callable for a network of your own "
    "(torchvision.models:resnet50; modules in the current directory count)."
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
ModelOrDirectory = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN_DIR",
        help=f"{MODEL_HELP[:-1]}; or a directory that subpath finetune wrote.",
        show_default=False,
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="C,H,W",
        help="Size of one input; timm's networks know theirs.",
        show_default=False,
    ),
]
ModelArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="KEY=VALUE",
        help="An argument for the network's constructor; can be repeated.",
        show_default=False,
    ),
]
Groups = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="How many stages an isotropic network (ViT) is cut into; default 4.",
        show_default=False,
    ),
]
Skippable = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="How many blocks at the end of each stage are skippable: a number, a share below "
        "1.0, or one of these for each stage; default: half, rounded down.",
        show_default=False,
    ),
]
Blocks = Annotated[
    str | None,
    typer.Option(
        metavar="PATH[,PATH...]",
        help="The exact blocks to make skippable, by module path.",
        show_default=False,
    ),
]
TwinNorms = Annotated[
    str,
    typer.Option(metavar="mandatory|all|none", help="Which norms get a twin."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@dataclass(frozen=True)
class Cut:
    """How to cut the network, as the arguments of ``convert``."""

    groups: int | None = None
    skippable: int | float | list[int | float] | None = None
    blocks: list[str] | None = None
    twin_norms: Any = "mandatory"

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``subpath.plan`` and ``subpath.convert``."""
        return dict(vars(self))


def parse_cut(
    groups: int | None, skippable: str | None, blocks: str | None, twin_norms: str
) -> Cut:
    """The options of the cut as values.

    Raises:
        PlanError: ``skippable`` holds something else than numbers.
    """
    shares = None if skippable is None else [_number(word) for word in skippable.split(",")]
    return Cut(
        groups=groups,
        skippable=shares[0] if shares and len(shares) == 1 else shares,
        blocks=None if blocks is None else [path.strip() for path in blocks.split(",")],
        twin_norms=twin_norms,
    )


def parse_input_size(text: str | None) -> tuple[int, ...] | None:
    """``"3,224,224"`` as numbers.

    Raises:
        SubpathError: the text is something else.
    """
    if text is None:
        return None
    words = text.replace("x", ",").split(",")
    if not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise SubpathError(
            f"got --input-size {text!r}; expected positive numbers with commas between them: "
            "channels, height and width, for example 3,224,224"
        )
    return tuple(int(word) for word in words)


def parse_arguments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``["img_size=64"]`` as ``{"img_size": 64}``; values are JSON, or else plain text.

    Raises:
        SubpathError: there is no ``=`` in one of them.
    """
    arguments = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise SubpathError(
                f"got --arg {pair!r}; expected KEY=VALUE, for example --arg img_size=64"
            )
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments


def _number(word: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    raise PlanError(
        f"got {word.strip()!r} in --skippable; expected numbers with commas between them, for "
        "example 1,2,3,1 or 0.5"
    )
