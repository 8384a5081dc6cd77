"""Example inputs for networks of transformers, read from their config.

The library is not imported: its networks, and wrappers around them, are known by what they carry,
``main_input_name`` and a ``config``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import ModelError
from ..graph.inputs import Inputs
from .huggingface_config import KINDS, MAKERS, Config, Unknown
from .images import floating_type

MASK = "attention_mask"


def default_inputs(model: nn.Module) -> Inputs | None:
    """A small batch of what a network of transformers takes, by name, on the CPU.

    It has two samples, or one if the network takes no more. A network that puts images into places
    held free in a text gets text alone. A network on the meta device gets no mask, whose values it
    would have to look at.

    Returns:
        The inputs; ``None`` for networks that are none of transformers.

    Raises:
        ModelError: the network needs an input whose shape its config does not tell.
    """
    config = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if main is None or not isinstance(getattr(config, "model_type", None), str):
        return None
    forward = _Forward.of(model)
    needed = _needed(config, [main] if isinstance(main, str) else list(main), forward)
    if any(p.is_meta for p in model.parameters()):
        needed = [name for name in needed if name != MASK or name in forward.required]
    dummies = _dummies(model, forward)
    if "dummy_inputs" in vars(type(model)) and dummies:  # whoever wrote this very class knows it
        return Inputs((), dummies)
    facts = Config(config, floating_type(model), batch=1 if _takes_one(model, config) else 2)
    made, unknown = _made(facts, needed)
    if not unknown:
        return Inputs((), made)
    if dummies.keys() >= set(needed):
        return Inputs((), dummies)
    raise ModelError(_message(model, unknown, needed))


@dataclass(frozen=True)
class _Forward:
    """What a forward takes by name, and which of it has no default."""

    names: tuple[str, ...]
    required: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> _Forward:
        parameters = _parameters(model)
        base = getattr(model, "get_base_model", None)
        if not parameters and callable(base):  # adapters pass everything on
            parameters = _parameters(base())
        required = frozenset(p.name for p in parameters if p.default is p.empty)
        return cls(tuple(p.name for p in parameters), required)


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(model.forward).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _needed(config: Any, main: Sequence[str], forward: _Forward) -> list[str]:
    """The inputs to make, in the order of the forward: the main ones and what belongs to them."""
    kinds = [name for name in forward.names if name in KINDS]
    mains = [name for name in main if name in forward.names] or kinds[:1] or list(main)
    needed = {*mains, *forward.required}
    if "input_ids" in kinds and not _has_places(config):
        needed.update(k for k in kinds if k != "pixel_values_videos")  # text and images, as CLIP
    if "input_ids" in needed:
        needed.add(MASK)
    if getattr(config, "is_encoder_decoder", False):
        needed.add("decoder_input_ids")
    ordered = [name for name in forward.names if name in needed]
    return ordered or list(main)


def _has_places(config: Any) -> bool:
    """Whether a text holds places for images or sounds, marked by a token of their own."""
    return any(n.startswith(("image_token", "video_token", "audio_token")) for n in vars(config))


def _takes_one(model: nn.Module, config: Any) -> bool:
    """Whether it must find the end of a text, and has no word for what comes after."""
    classifies = "ForSequenceClassification" in type(model).__name__
    return classifies and getattr(config, "pad_token_id", None) is None


def _made(facts: Config, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What can be made, and for the rest what was looked for."""
    made, unknown = {}, {}
    for name in names:
        try:
            if name not in MAKERS:
                raise Unknown("its name is not known")
            made[name] = MAKERS[name](facts)
        except Unknown as missing:
            unknown[name] = str(missing)
    return made, unknown


def _dummies(model: nn.Module, forward: _Forward) -> dict[str, Any]:
    """The ``dummy_inputs`` that the network tells, without what its forward does not take."""
    try:
        told = getattr(model, "dummy_inputs", None)
    except Exception:  # the network's own code
        return {}
    if not isinstance(told, Mapping):
        return {}
    return {name: value for name, value in told.items() if name in forward.names}


def _message(model: nn.Module, unknown: Mapping[str, str], needed: Sequence[str]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in unknown.items())
    example = ", ".join(f"{name!r}: ..." for name in needed)
    return (
        f"got a {type(model).__name__} whose config does not tell what it takes ({reasons}); "
        f"expected example_input={{{example}}}, with a tensor for each, batch first"
    )
