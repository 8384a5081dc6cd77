"""torch.compile of the adaptive model, and torch.compile and torch.export of sub-networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import fx, nn

import subpath
import toys
from subpath.adaptive.model import AdaptiveModel
from toys import TOYS

# A CNN, a hierarchical transformer, a plain one, and a hybrid; small.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn": ("resnet18", {"channels": [8, 8, 8, 8]}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": [2, 2, 2, 2]},
    ),
    "vit": ("vit_tiny_patch16_224", {"img_size": 64, "embed_dim": 12, "depth": 8}),
    "hybrid": ("mobilevit_xxs", {}),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(kind: str) -> AdaptiveModel:
    torch.manual_seed(0)
    name, arguments = NETWORKS[kind]
    return subpath.convert(timm.create_model(name, num_classes=5, **arguments).eval(), IMAGES)


class Counting:
    """A backend that runs a graph as it is and counts how many it was given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: fx.GraphModule, inputs: object) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@pytest.fixture
def backend() -> Iterator[Counting]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8):  # its default; accelerate raises it
        yield Counting()
    torch._dynamo.reset()


def as_function(model: nn.Module, **how: Any) -> nn.Module:
    compiled: nn.Module = torch.compile(model, **how)
    return compiled


def as_method(model: nn.Module, **how: Any) -> nn.Module:
    model.compile(**how)
    return model


def four_stages() -> AdaptiveModel:
    widths = (4, 4, 5, 6, 7)
    parts = {f"layer{n}": toys.stage(toys.PostActivation, 2, *widths[n : n + 2]) for n in range(4)}
    return subpath.convert(toys.randomise(toys.ImageNet(4, parts, 7)).eval(), IMAGES)


@pytest.mark.parametrize(
    ("way", "fullgraph", "training"),
    [(as_function, True, False), (as_method, False, True)],
)
def test_each_config_is_compiled_once(
    backend: Counting, way: Callable[..., nn.Module], fullgraph: bool, training: bool
) -> None:
    model, eager = four_stages().train(training), four_stages().train(training)
    configs = eager.skip_configs()
    assert len(configs) == 16  # twice what may be compiled of one function
    compiled = way(model, backend=backend, fullgraph=fullgraph)
    for turn in range(2):
        for number, skip in enumerate(configs):
            with model.using(configs[-1]):
                got = compiled(IMAGES, skip=str(skip))
            torch.testing.assert_close(got, eager(IMAGES, skip=skip))
            assert backend.count == (number + 1 if turn == 0 else 16)
    with model.using("TFFT"):
        torch.testing.assert_close(compiled(x=IMAGES), eager(IMAGES, skip="TFFT"))
    model.train(not training), eager.train(not training)
    torch.testing.assert_close(compiled(IMAGES, skip="TFFT"), eager(IMAGES, skip="TFFT"))
    assert backend.count == 17
    model.train(training), eager.train(training)
    torch.testing.assert_close(compiled(IMAGES, skip="TFFT"), eager(IMAGES, skip="TFFT"))
    assert backend.count == 17


def test_shapes_that_have_graphs_of_their_own_are_compiled_once(backend: Counting) -> None:
    known = TOYS["padded"]
    model = subpath.convert(known.build(), known.input())
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    inputs = [torch.randn(2, 3, size, size) for size in (8, 10, 12)]
    with torch.no_grad():
        for x in inputs * 3:
            for skip in model.skip_configs():
                torch.testing.assert_close(compiled(x, skip=skip), model(x, skip=skip))
    assert backend.count == len(inputs) * 4


def test_features_are_compiled_once_for_each_config(backend: Counting) -> None:
    model = network("vit")
    compiled = torch.compile(model.features, backend=backend, fullgraph=True)
    with torch.no_grad():
        for skip in ("FFFF", "TTFT", "FFFF", "TTFT"):
            got = compiled(IMAGES, skip=skip, output_fmt="NCHW")
            expected = model.features(IMAGES, skip=skip, output_fmt="NCHW")
            torch.testing.assert_close(got, expected)
    assert backend.count == 2


def test_inside_a_larger_compiled_function_the_active_config_runs(backend: Counting) -> None:
    model = four_stages()
    larger = torch.compile(lambda x: 2 * model(x + 1), backend=backend)
    with torch.no_grad():
        for skip in ("FFFF", "TTTT", "TFFT", "FFFF"):
            with model.using(skip):
                torch.testing.assert_close(larger(IMAGES), 2 * model(IMAGES + 1))
            model.skip = skip
            torch.testing.assert_close(larger(IMAGES), 2 * model(IMAGES + 1))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_sub_network_is_compiled_whole_and_exported(backend: Counting, kind: str) -> None:
    model = network(kind)
    skip = "T" * (len(model.stages) - 1) + "F"
    subnet = model.subnet(skip)
    others = torch.randn(5, 3, 64, 64)
    whole = torch.compile(subnet, backend=backend, fullgraph=True)
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        expected = model(IMAGES, skip=skip)
        torch.testing.assert_close(whole(IMAGES), expected)
        exported = torch.export.export(subnet, (IMAGES,), dynamic_shapes=({0: batch},)).module()
        torch.testing.assert_close(exported(others), model(others, skip=skip))
    assert backend.count == 1


def test_resolution_stays_free_where_the_network_allows_it() -> None:
    subnet = network("cnn").subnet("TFTF")
    height, width = (32 * torch.export.Dim(name, min=1, max=16) for name in ("rows", "columns"))
    shapes = {0: torch.export.Dim("batch", min=1, max=64), 2: height, 3: width}
    with torch.no_grad():
        exported = torch.export.export(subnet, (IMAGES,), dynamic_shapes=(shapes,)).module()
        images = torch.randn(3, 3, 96, 128)
        torch.testing.assert_close(exported(images), subnet(images))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_sub_network_holds_only_what_it_uses(kind: str) -> None:
    model = network(kind)
    stages = len(model.stages)
    subnet = model.subnet("T" * stages).train()
    subnet(IMAGES).square().sum().backward()
    assert all(parameter.grad is not None for parameter in subnet.parameters())
    skippable = {block for stage in model.stages for block in stage.skippable}
    gone = [n for n in dict(model.named_parameters()) if n.startswith(tuple(skippable))]
    assert gone
    assert not set(gone) & set(dict(subnet.named_parameters()))


def test_a_sub_network_gives_its_stages_outputs_and_leaves_modes_alone() -> None:
    model = network("cnn").train()
    frozen = model.get_submodule("layer1.0.bn1").eval()
    subnet = model.subnet("TFTF", features=True)
    assert subnet.training
    assert not frozen.training
    model.eval()
    with torch.no_grad():
        output, stages = model.subnet("TFTF", features=True)(IMAGES)
        expected, outputs = model.forward_features_of_stages(IMAGES, skip="TFTF")
        assert torch.equal(output, expected)
        assert all(torch.equal(a, b) for a, b in zip(stages, outputs, strict=True))
