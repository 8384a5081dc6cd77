"""What a saved model consists of: names of files, and what the description says.

A directory holds ``subpath.json`` (the description) and ``model-<digest>.safetensors`` (the state
dict). The description names the weights file and is written last, so that a directory holds the
old model or the new one, whenever a save is interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..choice import MeasuredTable
from ..planning import Plan

DESCRIPTION = "subpath.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Architecture:
    """How the original network is made.

    Attributes:
        name: a timm name, or ``package.module:callable``.
        arguments: keyword arguments for ``timm.create_model`` or the callable; JSON values.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_timm(self) -> bool:
        """Whether timm makes it; such a network is rebuilt from its name alone."""
        return ":" not in self.name


@dataclass(frozen=True)
class Description:
    """What ``subpath.json`` says.

    Attributes:
        architecture: how the original is made; ``None`` if it was not said.
        input_size: shape of the example input without the batch; ``None`` if it was not said.
        plan: how the network is cut.
        weights: name of the weights file in the same directory.
        sha256: digest of the weights file, in hexadecimal.
        shared: keys that are the same tensor as another key: ``{key: key in the weights file}``.
        libraries: versions that wrote it.
        measured: what each config costs and achieves; ``None`` if it was not measured.
        original: of an adapter, the digest of the original's weights, which it does not hold;
            ``None``: the weights are all there.
    """

    architecture: Architecture | None
    input_size: tuple[int, ...] | None
    plan: Plan
    weights: str
    sha256: str
    shared: Mapping[str, str]
    libraries: Mapping[str, str]
    measured: MeasuredTable | None = None
    original: str | None = None


def to_json(description: Description) -> str:
    """The text of ``subpath.json``."""
    table = description.measured
    content = {
        "format_version": FORMAT_VERSION,
        **asdict(replace(description, measured=None)),
        "measured": None if table is None else table.to_dict(),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def weights_name(digest: str) -> str:
    """Name of the weights file with this digest."""
    return f"model-{digest[:12]}.safetensors"
