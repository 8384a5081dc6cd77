"""A worker that answers quickly, without looking at any network; started by the tests of sweeps."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from subpath.sweep.record import StageDepth
from subpath.sweep.structure import blank
from subpath.sweep.worker import serve

GMACS = {"resnet18": 1.8, "resnet34": 3.6, "vit_tiny_patch16_224": 1.1}


def answer(task: Any, tell: Any) -> Any:
    name = task["name"]
    if name == "vgg13" or (task["kind"] == "parity" and name == "vit_tiny_patch16_224"):
        os._exit(1)
    if task["kind"] == "parity":
        return {"eval": {"passed": True, "why": ""}}
    record = blank("timm", name)
    if name not in GMACS:
        return replace(record, outcome="no-residual", reason="nothing").to_dict()
    return replace(
        record,
        outcome="converted",
        stages=(StageDepth("layer1", 2, 1),),
        gmacs_super=GMACS[name],
        gmacs_base=1.0,
    ).to_dict()


if __name__ == "__main__":
    serve(answer)
