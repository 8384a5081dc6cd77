"""Each skip config as an ONNX file of its own, ready to be run in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..adaptive.model import AdaptiveModel
from ..progress import OnProgress, first_of, no_progress
from ..skip import SkipConfig


def onnx_sides(
    model: AdaptiveModel,
    inputs: tuple[Any, ...],
    configs: Sequence[SkipConfig],
    on_progress: OnProgress = no_progress,
) -> dict[SkipConfig, Callable[[], object]]:
    """What runs each config once, with as many threads as torch has now.

    Raises:
        ExportError: the network cannot be exported, or the extra ``onnx`` is missing.
    """
    from ..export import to_onnx
    from ..export.session import Session

    sides: dict[SkipConfig, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as directory:  # a session has read its file when it is made
        for skip in first_of(configs, None, "writing each config as an ONNX file", on_progress):
            made = to_onnx(model, Path(directory) / f"{skip}.onnx", skip, example_input=inputs)
            session = Session(made.path, [tensor.name for tensor in made.inputs], switches=False)
            sides[skip] = partial(session.run, skip, inputs)
    return sides
