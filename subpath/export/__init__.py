"""Sub-networks in formats that need none of our classes: ONNX and torch.export.

``to_onnx(model, path)`` writes one file that holds every skip config and takes it as an input;
``to_onnx(model, path, skip="TTFF")`` and ``to_torch(model, path, skip="TTFF")`` write one config.
"""

from .onnx import to_onnx
from .pt2 import to_torch
from .record import RUNTIME, Exported, Tensor

__all__ = ["RUNTIME", "Exported", "Tensor", "to_onnx", "to_torch"]
