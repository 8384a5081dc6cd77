"""Plans find the stages that the authors published, in every timm family."""

from __future__ import annotations

import pytest
import timm
import torch

import subpath
from subpath.errors import NoResidualError
from zoo.depths import TABLE, Published

EVERY = [published for family in TABLE.values() for published in family]

QUICK = {
    "cspresnet50",
    "davit_tiny",
    "densenet121",
    "edgenext_xx_small",
    "gernet_s",
    "hiera_tiny_224",
    "lcnetv2_small",
    "mobilenetv4_conv_small",
    "nfnet_l0",
    "repvgg_a0",
    "vit_small_r26_s32_224",
    "vit_tiny_patch16_224",
}


def plan(name: str) -> subpath.Plan:
    with torch.device("meta"):
        return subpath.plan(timm.create_model(name).eval())


def compare(published: Published) -> None:
    if published.refused:
        with pytest.raises(NoResidualError):
            plan(published.name)
        return
    found = tuple(len(stage.blocks) for stage in plan(published.name).stages)
    if published.isotropic:
        assert sum(found) == sum(published.stages)
        assert len(found) == min(4, sum(found) // 2)
        assert max(found) - min(found) <= 1
    else:
        assert found == published.stages


@pytest.mark.parametrize("published", [p for p in EVERY if p.name in QUICK], ids=str)
def test_some_families(published: Published) -> None:
    compare(published)


@pytest.mark.slow
@pytest.mark.parametrize("published", [p for p in EVERY if p.name not in QUICK], ids=str)
def test_every_family(published: Published) -> None:
    compare(published)


def test_the_table_holds_every_family() -> None:
    assert TABLE.keys() == set(timm.list_modules())


@pytest.mark.parametrize("family", TABLE)
def test_entries_make_sense(family: str) -> None:
    entries = TABLE[family]
    names = [published.name for published in entries]
    assert names
    assert len(set(names)) == len(names)
    assert set(names) <= set(timm.list_models(module=family))
    for published in entries:
        assert set(published.plain) <= set(range(len(published.depths)))
        assert published.refused or published.stages


def test_the_quick_names_are_in_the_table() -> None:
    assert {published.name for published in EVERY} >= QUICK
