"""A config chosen by a budget runs in the thread that chose it, and in no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import subpath
import toys
from subpath.choice import MeasuredConfig, MeasuredTable
from subpath.errors import ChoiceError


@pytest.fixture
def model() -> subpath.AdaptiveModel:
    model = subpath.convert(
        toys.two_stages(toys.PostActivation, (2, 2)), torch.zeros(2, 3, 8, 8)
    ).eval()
    figures = {"FF": (4.0, 80.0), "TF": (3.0, 79.0), "FT": (2.0, 77.0), "TT": (1.0, 76.0)}
    rows = [MeasuredConfig(subpath.SkipConfig(s), g, top1=a) for s, (g, a) in figures.items()]
    model.measured = MeasuredTable(tuple(rows))
    return model


def test_the_chosen_config_runs_from_then_on(model: subpath.AdaptiveModel) -> None:
    x = torch.randn(2, 3, 8, 8)
    assert model.choose(max_gmacs=2.5) == "FT" == model.skip
    assert torch.equal(model(x), model(x, skip="FT"))
    assert model.choose(min_top1=79.0) == "TF" == model.skip
    with model.using("TT"):
        assert model.skip == "TT"
    assert model.skip == "TF"


def test_other_threads_and_other_models_are_not_disturbed(model: subpath.AdaptiveModel) -> None:
    other = subpath.convert(toys.two_stages(toys.PostActivation, (2, 2)), torch.zeros(2, 3, 8, 8))

    def serve(budget: float) -> list[str]:
        return [str(model.choose(max_gmacs=budget)), *(str(model.skip) for _ in range(200))]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(serve, [4.0, 3.0, 2.0, 1.0]))
    assert [set(answer) for answer in answers] == [{"FF"}, {"TF"}, {"FT"}, {"TT"}]
    assert model.skip == other.skip == "FF"


def test_a_budget_that_nothing_fits_changes_nothing(model: subpath.AdaptiveModel) -> None:
    model.choose(max_gmacs=1.0)
    with pytest.raises(ChoiceError, match="nearest is TT"):
        model.choose(max_gmacs=0.5)
    assert model.skip == "TT"
    model.measured = None
    with pytest.raises(ChoiceError, match="a model without measurements"):
        model.choose(max_gmacs=1.0)
