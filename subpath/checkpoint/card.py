"""The model card: what a reader on the Hub sees of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..choice import MeasuredConfig, MeasuredTable
from .format import Description
from .versions import LIBRARIES

_HEADER = """\
---
library_name: subpath
tags:
- subpath
- adaptive-depth
---
"""


def model_card(description: Description, repo_id: str) -> str:
    """Markdown with the stages, what was measured of each config, and how to load the model."""
    stages, made = description.plan.stages, description.architecture
    quick = "T" * len(stages)
    timm = made is not None and made.is_timm
    network = "" if made is None else f" of `{made.name.partition('.')[0] if timm else made.name}`"
    name = f'"hf-hub:{repo_id}"'
    if description.original is not None:
        original = "network = ...  # the original, with the weights that this was made for\n"
        load = f"load_adapter(network, {name})"
    elif timm:
        original, load = "", f"load({name})"
    else:
        original = "network = ...  # the original, as it was made\n"
        load = f"load({name}, model=network)"
    parts = [
        _HEADER,
        f"# {repo_id.partition('/')[2] or repo_id}\n",
        f"An adaptive-depth form{network}: one set of weights, a depth for each call. Every stage "
        f"can skip its last blocks, which gives {2 ** len(stages)} networks.\n",
        f"```python\nimport subpath\n\n{original}"
        f"model = subpath.{load}\n"
        f"model(images)  # the super-net: nothing is skipped\n"
        f'model(images, skip="{quick}")  # the base-net: every stage is shorter\n```\n',
        "## Stages\n",
        "A skip config has one letter for each stage, the first on the left; `T` skips.\n",
        _table(
            ("letter", "stage", "blocks", "skipped by `T`"),
            (
                (str(number), f"`{s.name}`", str(len(s.blocks)), _codes(s.skippable))
                for number, s in enumerate(stages, 1)
            ),
        ),
    ]
    if description.measured is not None:
        parts += ["## Measured\n", _measured(description.measured)]
    wrote = ", ".join(f"{n} {description.libraries[n]}" for n in LIBRARIES)
    parts.append(
        f"Saved with {wrote}. The method: Kang and Lee, [Adaptive Depth Networks with Skippable "
        "Sub-Paths](https://arxiv.org/abs/2312.16392), NeurIPS 2024.\n"
    )
    return "\n".join(parts)


def _measured(table: MeasuredTable) -> str:
    columns = {
        "GMACs": [_figure(c.gmacs, 3) for c in table.configs],
        "latency, ms": [_latency(c) for c in table.configs],
        "top-1, %": [_figure(c.top1, 2) for c in table.configs],
    }
    known = {name: column for name, column in columns.items() if any(column)}
    rows = zip((f"`{c.skip}`" for c in table.configs), *known.values(), strict=True)
    text = _table(("skip config", *known), rows)
    text += "\nGMACs are multiply-adds for one input in units of 1e9.\n"
    if table.conditions is not None:
        text += f"Latency is the median time of one call: {table.conditions}.\n"
    return text


def _latency(config: MeasuredConfig) -> str:
    predicted = " (predicted)" if config.latency_from == "predicted" else ""
    return _figure(config.latency_ms, 2) + predicted


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
