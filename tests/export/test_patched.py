"""Files of networks with patches and additions: of one config, and of every config."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import subpath
from subpath.export import to_onnx
from toys import PostActivation, randomise

pytest.importorskip("onnxruntime")
WIDTH = 6


class Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.mix(self.norm(x)).tanh()


def made(kind: str, low_rank: int = 0):
    if kind == "pictures":
        layers = [PostActivation(WIDTH, WIDTH) for _ in range(3)]
        x = torch.randn(2, 3, 8, 8)
        net = nn.Sequential(nn.Conv2d(3, WIDTH, 1), nn.ReLU(), *layers)
    else:
        net, x = nn.Sequential(*(Token() for _ in range(4))), torch.randn(2, 5, WIDTH)
    model = subpath.convert(randomise(net).eval(), x, low_rank=low_rank)
    model.set_patches(replace(p, rank=2) for p in model.possible_patches())
    with torch.no_grad():
        for name, parameter in model.skip_aware_parameters():
            if name.startswith(("patches.", "additions.")):
                parameter.normal_(std=0.3)
    return model, x


@pytest.mark.parametrize("kind", ["pictures", "tokens"])
@pytest.mark.parametrize("skip", ["base", "runtime"])
def test_files(kind, skip, tmp_path):
    import onnxruntime

    model, x = made(kind, low_rank=2)
    path = tmp_path / "patched.onnx"
    base = "T" * len(model.stages)
    to_onnx(model, path, base if skip == "base" else skip)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    for config in model.skip_configs() if skip == "runtime" else [base]:
        feed = {first: x.numpy()}
        if skip == "runtime":
            feed["skip"] = np.array([letter == "T" for letter in config])
        got = session.run(None, feed)[0]
        expected = model(x, skip=config).detach().numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=config)


def test_patches_of_kept_stages_are_not_computed(tmp_path):
    """In the file of all configs they stand in branches."""
    import onnx

    model, _ = made("tokens")
    to_onnx(model, tmp_path / "all.onnx")
    graph = onnx.load(tmp_path / "all.onnx").graph
    patches = {name for name, _ in model.named_parameters() if name.startswith("patches.")}
    shapes = {p.numel() for n, p in model.named_parameters() if n in patches and p.dim() == 2}
    outside = {i for node in graph.node if node.op_type in ("MatMul", "Gemm") for i in node.input}
    weights = {w.name for w in graph.initializer if int(np.prod(w.dims)) in shapes}
    assert not outside & weights
