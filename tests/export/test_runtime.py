"""One ONNX file that holds all configs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch

import subpath
import toys
from onnx_files import adaptive, feeds, session
from subpath.adaptive.model import AdaptiveModel
from subpath.export import Exported, to_onnx

ROOT = Path(__file__).parents[2]
KINDS = ["squeeze-excite", "in-place shortcut", "padded", "late token"]


def assert_equal_to_torch(model: AdaptiveModel, made: Exported, images: torch.Tensor) -> None:
    """All configs, for one picture and for more; and the configs differ from one another."""
    running = session(made.path)
    answers = []
    for config in model.skip_configs():
        for batch in (images[:1], images.repeat(2, 1, 1, 1)[:3]):
            with torch.no_grad():
                expected = model(batch, skip=config)
            (got,) = running.run(None, feeds(made, batch, config))
            largest = max(1.0, float(expected.abs().max()))
            assert np.abs(got - expected.numpy()).max() <= 1e-4 * largest
        answers.append(got)
    for number, one in enumerate(answers):
        assert not any(np.allclose(one, other, atol=1e-3) for other in answers[:number])


@pytest.mark.parametrize("kind", KINDS)
def test_every_config_is_torch_s(kind: str, tmp_path: Path) -> None:
    toy = toys.TOYS[kind]
    model = adaptive(toy)
    made = to_onnx(model, tmp_path / "file.onnx")
    assert set(made.checked) == set(model.skip_configs())
    assert_equal_to_torch(model, made, toy.input())


def test_a_hierarchical_transformer(tmp_path: Path) -> None:
    original = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        embed_dim=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        num_classes=5,
    )
    images = torch.randn(2, 3, 32, 32)
    model = subpath.convert(toys.randomise(original).eval(), images)
    toys.randomise(model, seed=2)
    assert_equal_to_torch(model, to_onnx(model, tmp_path / "swin.onnx"), images)


def test_the_small_network(small: tuple[AdaptiveModel, Exported]) -> None:
    model, made = small
    assert_equal_to_torch(model, made, toys.TOYS["post-activation"].input())
    batch = ("batch", 3, 8, 8)
    assert [(t.name, t.dtype, t.shape) for t in made.inputs] == [
        ("x", "float32", batch),
        ("skip", "bool", (2,)),
    ]
    assert [(t.name, t.dtype, t.shape) for t in made.outputs] == [
        ("output", "float32", ("batch", 5))
    ]
    assert made.size == made.path.stat().st_size
    assert 0 < made.difference <= 1e-4
    onnx.checker.check_model(onnx.load(made.path), full_check=True)


def tensors(graph: onnx.GraphProto) -> list[tuple[str, onnx.TensorProto]]:
    """All tensors that are stored, in branches too, with where they are."""
    found = [("initializer", tensor) for tensor in graph.initializer]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                found.append((node.op_type, attribute.t))
            elif attribute.type == onnx.AttributeProto.GRAPH:
                found += [("branch", tensor) for _, tensor in tensors(attribute.g)]
    return found


def test_weights_are_stored_once(small: tuple[AdaptiveModel, Exported]) -> None:
    """Those of the network and the twins, but for counters; a folded norm is a bias at most."""
    model, made = small
    stored = tensors(onnx.load(made.path).graph)
    floats = [t for _, t in stored if t.data_type == onnx.TensorProto.FLOAT]
    held = sum(v.numel() for v in model.state_dict().values() if v.is_floating_point())
    assert sum(int(np.prod(t.dims)) for t in floats) <= held
    assert all(np.prod(t.dims) <= 8 for place, t in stored if place == "branch")


def test_what_a_config_skips_is_not_computed(
    small: tuple[AdaptiveModel, Exported], tmp_path: Path
) -> None:
    """A block of this network has two convolutions; each letter skips one block."""
    _, made = small
    images = torch.randn(1, 3, 8, 8)
    counts = {}
    for config in ("FF", "TF", "FT", "TT"):
        running = session(made.path, tmp_path / config)
        running.run(None, feeds(made, images, config))
        events = json.loads(Path(running.end_profiling()).read_text())
        kernels = [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")]
        counts[config] = sum(kind in ("Conv", "FusedConv") for kind in kernels)
        assert "Where" not in kernels
    whole = counts["FF"]
    assert counts == {"FF": whole, "TF": whole - 2, "FT": whole - 2, "TT": whole - 4}
    assert whole >= 1 + 2 * (2 + 3) + 1  # the stem, five blocks, a projection


def test_the_file_says_what_it_is_and_nothing_of_this_machine(
    small: tuple[AdaptiveModel, Exported],
) -> None:
    model, made = small
    told = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}
    assert told["subpath.skip"] == "runtime"
    assert json.loads(told["subpath.stages"]) == [
        {"letter": 1, "stage": "layer1", "skips": ["layer1.1"]},
        {"letter": 2, "stage": "layer2", "skips": ["layer2.2"]},
    ]
    assert json.loads(told["subpath.libraries"])["torch"] == torch.__version__
    content = made.path.read_bytes()
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content
    assert len(model.stages) == 2


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = adaptive(toys.TOYS["transformer"])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    to_onnx(model, tmp_path / "file.onnx", batch=3, example_input=torch.zeros(1, 3, 12, 8))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not model.training
    shape = onnx.load(tmp_path / "file.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in shape] == [3, 3, 12, 8]
