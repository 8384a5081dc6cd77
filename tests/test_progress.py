"""Every long call tells its progress in one form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import subpath
import toys
from subpath import export, measure
from subpath.progress import first_of

TOY = toys.TOYS["post-activation"]
BATCHES = [TOY.input() + number for number in range(3)]
Told = list[tuple[str, int, int | None]]


def told_by(call: Any, *args: Any, **options: Any) -> Told:
    told: Told = []
    call(*args, **options, on_progress=lambda *what: told.append(what))
    return told


@pytest.fixture
def model() -> subpath.AdaptiveModel:
    return subpath.convert(TOY.build().eval(), TOY.input())


def test_fit(model: subpath.AdaptiveModel) -> None:
    total = len(model.stages) * 2 * len(BATCHES)  # statistics and maps of each stage
    expected = [("fitting", done, total) for done in range(1, total + 1)]
    assert told_by(subpath.fit, model, BATCHES) == expected


@pytest.mark.parametrize(("loader", "total"), [(BATCHES, 2), (iter(BATCHES), 2), (BATCHES[:1], 1)])
def test_calibrate(model: subpath.AdaptiveModel, loader: Any, total: int) -> None:
    expected = [("calibrating TF", done, total) for done in range(1, total + 1)]
    assert told_by(subpath.calibrate, model, loader, "TF", 2) == expected


@pytest.mark.parametrize("run", ["graph", "in place"])
def test_count_macs(run: Any) -> None:
    model = subpath.convert(TOY.build().eval(), TOY.input(), run=run)
    told = told_by(measure.count_macs, model)
    count = len(model.skip_configs())
    assert told == [
        ("counting multiply-adds of each config", done, count) for done in range(1, count + 1)
    ]


def test_latency(model: subpath.AdaptiveModel) -> None:
    told = told_by(measure.latency, model, rounds=6)
    assert told == [
        *(("calling each config once", done, 4) for done in range(1, 5)),
        ("timing 4 configs in turns", 0, None),
    ]


def test_sensitivity() -> None:
    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output, targets)

    with torch.no_grad():
        pairs = [(x, TOY.build().eval()(x)) for x in BATCHES]
    told = told_by(measure.sensitivity, TOY.build().eval(), pairs, loss)
    assert told == [("skipping each block alone", done, 3) for done in range(1, 4)]


def test_export(model: subpath.AdaptiveModel, tmp_path: Path) -> None:
    told = told_by(export.to_torch, model, tmp_path / "model.pt2", "TT")
    assert told == [
        ("exporting with torch.export", 0, None),
        ("comparing configs with torch", 1, 1),
    ]


class Endless(IterableDataset[int]):
    """Nobody knows how long it is."""

    def __iter__(self) -> Any:
        return iter(range(3))


def test_where_nobody_knows_how_many_there_are() -> None:
    told: Told = []
    loader = DataLoader(Endless(), batch_size=None)
    assert list(first_of(loader, None, "reading", lambda *what: told.append(what))) == [0, 1, 2]
    assert told == [("reading", 1, None), ("reading", 2, None), ("reading", 3, None)]


def test_print_is_a_callback(model: subpath.AdaptiveModel, capsys: Any) -> None:
    subpath.calibrate(model, BATCHES[:1], "TF", on_progress=print)
    assert capsys.readouterr().out == "calibrating TF 1 1\n"
