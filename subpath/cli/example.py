"""What ``--input-size`` or ``--input`` says of the inputs that a network is looked at with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, SubpathError
from .tensor_spec import TensorSpec, make_value, parse_value

if TYPE_CHECKING:
    from torch import nn

    from ..graph.inputs import Inputs

EXAMPLES = (
    "[2, 3, 224, 224] for one tensor, [[2, 3, 64, 64], [2, 1, 64, 64]] for two, or "
    '{"input_ids": {"shape": [2, 16], "dtype": "int64", "high": 30000}} for one with a name'
)


@dataclass(frozen=True)
class Example:
    """The inputs of one call, if any option said something of them.

    Attributes:
        size: of one positional input, without the batch.
        args: positional inputs: specs, plain values, and lists and dicts of these.
        kwargs: those by name.
    """

    size: tuple[int, ...] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self != Example()

    def inputs(self, model: nn.Module) -> Inputs:
        """The inputs for ``model``, the same ones each time; its own where nothing was said.

        Raises:
            ModelError: nothing was said, and its config does not tell; or it takes no such names.
        """
        import torch

        from .. import zoo
        from ..graph.inputs import Inputs

        if self.size is not None:
            return zoo.images(model, self.size)
        if self:
            self._check_names(model)
            floating = zoo.floating_type(model)
            generator = torch.Generator().manual_seed(0)
            return Inputs(
                tuple(make_value(list(self.args), floating, generator)),
                make_value(dict(self.kwargs), floating, generator),
            )
        try:
            return zoo.example_inputs(model)
        except ModelError as error:
            options = "--input-size 3,224,224 for images, or --input with JSON"
            raise ModelError(f"{error}. In the terminal: {options}") from error

    def _check_names(self, model: nn.Module) -> None:
        from ..graph.signature import signature_of

        parameters = signature_of(model.forward).parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        unknown = [name for name in self.kwargs if name not in names]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise ModelError(
                f"got --input with {', '.join(unknown)}, which a {type(model).__name__} does not "
                f"take; expected names among {', '.join(names)}"
            )


def parse_example(input_size: str | None, text: str | None) -> Example:
    """The options as values.

    Raises:
        SubpathError: they say something else, or both are given.
    """
    if input_size is not None and text is not None:
        raise SubpathError("got --input-size and --input; expected one of them")
    if text is None:
        return Example(size=parse_input_size(input_size))
    found = parse_value(read_json("--input", text, EXAMPLES))
    if isinstance(found, TensorSpec):
        return Example(args=(found,))
    if isinstance(found, list) and found:
        return Example(args=tuple(found))
    if isinstance(found, dict) and found:
        return Example(kwargs=found)
    raise SubpathError(f"got --input {text!r}; expected {EXAMPLES}")


def as_example(inputs: Inputs) -> Any:
    """Inputs in the form of an ``example_input``: a tuple, or a dict of those by name."""
    return dict(inputs.kwargs) or inputs.args


def parse_input_size(text: str | None) -> tuple[int, ...] | None:
    """``"3,224,224"`` or ``"3x224x224"`` as numbers.

    Raises:
        SubpathError: the text is something else.
    """
    if text is None:
        return None
    words = re.split(r"\s*[,x]\s*", text.strip().strip("()[]").lower())
    if not all(re.fullmatch(r"[0-9]+", word) and int(word) > 0 for word in words):
        raise SubpathError(
            f"got --input-size {text!r}; expected positive numbers with commas or x between them: "
            "channels, height and width, for example 3,224,224"
        )
    return tuple(int(word) for word in words)


def read_json(option: str, text: str, examples: str) -> Any:
    """The JSON in ``text``, or in the file that it names after an ``@``.

    Raises:
        SubpathError: there is no such file, or it is no JSON.
    """
    source = text
    if text.startswith("@"):
        try:
            source = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SubpathError(
                f"got {option} {text}, but {text[1:]} cannot be read ({error}); expected a file "
                "with JSON after the @"
            ) from error
    try:
        return json.loads(source)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SubpathError(
            f"got {option} {text!r}, which is no JSON ({error}); expected {examples}. Put it in "
            "single quotes, or into a file and give @FILE"
        ) from error
