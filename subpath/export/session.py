"""A written ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import ExportError
from ..skip import SkipConfig


class Session:
    """Runs a file on the CPU.

    Args:
        path: the file.
        names: of the inputs, but for the skip config.
        switches: whether it also takes a skip config.
    """

    def __init__(self, path: Path, names: Sequence[str], switches: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has a class of errors for each cause
            raise ExportError(
                f"got an ONNX file that ONNX Runtime does not load: {error}. Nothing is kept; try "
                "another --opset, or a newer onnxruntime"
            ) from error
        self._names, self._switches = tuple(names), switches

    def run(self, config: SkipConfig, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs of the file; ``config`` counts if the file takes one."""
        given: dict[str, Any] = {
            name: value.numpy() for name, value in zip(self._names, inputs, strict=True)
        }
        if self._switches:
            letters = [config.skips(stage) for stage in range(len(config))]
            given["skip"] = torch.tensor(letters).numpy()
        try:
            return [torch.from_numpy(value) for value in self._session.run(None, given)]
        except Exception as error:
            raise ExportError(
                f"got an ONNX file that ONNX Runtime does not run with {config}: {error}. Nothing "
                "is kept; please report it"
            ) from error
