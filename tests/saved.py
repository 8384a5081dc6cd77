"""A small saved model, and hands that change what was saved."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import subpath
from subpath import zoo
from subpath.checkpoint.files import digest
from toys import randomise

ARGUMENTS = {"channels": [4, 8, 8, 8], "num_classes": 5, "in_chans": 1}
SIZE = (1, 32, 32)


def small(**arguments):
    network = zoo.create_model("resnet18", **{**ARGUMENTS, **arguments})
    model = subpath.convert(randomise(network), torch.zeros(2, *SIZE))
    with torch.no_grad():  # twins that differ from their originals
        for name, parameter in model.named_parameters():
            if name.startswith("twin_norms"):
                parameter.add_(0.3)
    return model.eval()


def description(directory: Path) -> dict:
    return json.loads((directory / "subpath.json").read_text())


def rewrite(directory: Path, **changes) -> None:
    text = json.dumps({**description(directory), **changes})
    (directory / "subpath.json").write_text(text)


def weights_of(directory: Path) -> Path:
    (path,) = directory.glob("*.safetensors")
    return path


def put_weights(directory: Path, tensors: dict) -> None:
    """Other weights, with a digest that fits them."""
    weights_of(directory).unlink()
    save_file(tensors, directory / "new")
    sha256 = digest(directory / "new")
    name = f"model-{sha256[:12]}.safetensors"
    (directory / "new").rename(directory / name)
    rewrite(directory, weights=name, sha256=sha256)
