"""Every promised network is read as its authors published it."""

from __future__ import annotations

import pytest
import torch

import subpath
from families import NETWORKS, Network


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_stages_have_the_published_depths(network: Network) -> None:
    with torch.device("meta"):
        model = network.build()
        plan = subpath.plan(model, network.images())
    assert tuple(len(stage.blocks) for stage in plan.stages) == network.depths
    # The method's rule: of n blocks the first ceil(n / 2) are mandatory.
    assert tuple(len(stage.skippable) for stage in plan.stages) == tuple(
        n - -(-n // 2) for n in network.depths
    )
    for stage in plan.stages:
        assert stage.skippable == stage.blocks[-len(stage.skippable) :]
        assert all(model.get_submodule(path) is not None for path in (stage.name, *stage.blocks))


# Counted in the code that Kang and Lee published.
@pytest.mark.parametrize(
    ("name", "twins", "share"),
    [("resnet50", 27, 0.0010), ("tv:vit_b_16", 16, 0.0003), ("tv:swin_t", 15, 0.0005)],
)
def test_as_many_twin_norms_as_published(name: str, twins: int, share: float) -> None:
    network = Network(name, ())
    with torch.device("meta"):
        model = network.build()
        plan = subpath.plan(model, network.images(size=224))
    assert len(plan.twin_norms) == twins
    added = sum(
        parameter.numel()
        for twin in plan.twin_norms
        for parameter in model.get_submodule(twin.path).parameters()
    )
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert added / whole == pytest.approx(share, abs=0.00005)
