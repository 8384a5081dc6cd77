"""The arguments and options that commands share, and how their words become values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..errors import PlanError, SubpathError
from .example import read_json

MODEL_HELP = (
    "A timm model name (resnet50), or package.module:callable for any other network "
    "(torchvision.models:resnet50, transformers:BertModel). The current directory is searched too."
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
ModelOrDirectory = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN_DIR",
        help=f"{MODEL_HELP} Or the directory of a run of subpath finetune.",
        show_default=False,
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="C,H,W",
        help="Input size without the batch (3,224,224 or 3x224x224). Optional for models of timm "
        "and transformers.",
        show_default=False,
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="JSON|@FILE",
        help="All inputs, including the batch dimension: a shape ([2, 3, 64, 64]) or a tensor spec "
        '({"shape": [2, 16], "dtype": "int64", "high": 1000}), a list of these (positional '
        "arguments), or an object of these (keyword arguments).",
        show_default=False,
    ),
]
ModelArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="KEY=VALUE",
        help="A constructor argument of the network; can be repeated.",
        show_default=False,
    ),
]
MoreArguments = Annotated[
    str | None,
    typer.Option(
        "--model-args",
        metavar="JSON|@FILE",
        help="Constructor arguments of the network; for a class of transformers, fields of its "
        "config.",
        show_default=False,
    ),
]
Groups = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of stages to cut an isotropic network (ViT) into; default: 4.",
        show_default=False,
    ),
]
Skippable = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="Skippable blocks at the end of each stage: a count or a fraction below 1.0, for all "
        "stages or one per stage; default: half, rounded down.",
        show_default=False,
    ),
]
Blocks = Annotated[
    str | None,
    typer.Option(
        metavar="PATH[,PATH...]",
        help="Module paths of exactly the blocks to make skippable.",
        show_default=False,
    ),
]
TwinNorms = Annotated[
    str,
    typer.Option(
        metavar="mandatory|all|none",
        help="Which norms get a twin: those of mandatory sub-paths, all outside skippable "
        "sub-paths, or none.",
    ),
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


def parse_arguments(pairs: Sequence[str] | None, text: str | None = None) -> dict[str, Any]:
    """``["img_size=64"]`` and ``'{"depth": 2}'`` as ``{"img_size": 64, "depth": 2}``.

    Values of pairs are JSON, or else plain text.

    Raises:
        SubpathError: there is no ``=`` in a pair, the text is no JSON object, or both have a key.
    """
    given = {} if text is None else _object(text)
    arguments = dict(given)
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise SubpathError(
                f"got --arg {pair!r}; expected KEY=VALUE, for example --arg img_size=64"
            )
        if key in given:
            raise SubpathError(
                f"got {key!r} in --model-args and in --arg; expected it in one of them"
            )
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments


def _object(text: str) -> dict[str, Any]:
    example = 'an object, for example {"img_size": 64}'
    value = read_json("--model-args", text, example)
    if not isinstance(value, dict):
        raise SubpathError(f"got --model-args {text!r}; expected {example}")
    return value


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
