"""Processes of one machine exchange a model; whoever would read a file does not."""

from __future__ import annotations

import io
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import joblib  # comes with scikit-learn
import pytest
import torch
from torch import nn
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader

import subpath
import toys
from in_other_processes import Featured, answer, outputs_of
from subpath.choice import MeasuredConfig, MeasuredTable

RUNS = ["graph", "in place"]
NAMES = ["post-activation", "padded", "two streams", "transformer", "sized tokens", "loop"]


def converted(name: str, run: Any) -> tuple[subpath.AdaptiveModel, torch.Tensor]:
    toy = toys.TOYS[name]
    return subpath.convert(toys.randomise(toy.build()), toy.input(), run=run), toy.input()


def there_and_back(model: Any) -> Any:
    """What another process gets, by the pickler of multiprocessing."""
    return ForkingPickler.loads(ForkingPickler.dumps(model))


def assert_equal(expected: dict[str, torch.Tensor], got: dict[str, torch.Tensor]) -> None:
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", NAMES)
def test_what_arrives_is_the_same_model(name: str, run: str) -> None:
    model, x = converted(name, run)
    again = there_and_back(model)
    assert type(again) is type(model)
    assert again.plan == model.plan
    assert list(again.state_dict()) == list(model.state_dict())
    assert_equal(outputs_of(model, x), outputs_of(again, x))


@pytest.mark.parametrize("run", RUNS)
def test_all_that_it_knows_goes_with_it(run: str) -> None:
    model, x = converted("post-activation", run)
    subpath.fit(model, [x + n for n in range(4)], rank=2)
    skip, base_net = str(model.skip_configs()[1]), str(model.skip_configs()[-1])
    subpath.calibrate(model, [x, 2 * x], skip, keep=True)
    model.measured = MeasuredTable((MeasuredConfig(model.skip_configs()[0], 1.5),))
    model.skip = skip
    model.freeze_original()
    model.train()
    again = there_and_back(model)
    assert (again.skip, again.calibrated, again.measured) == (skip, (skip,), model.measured)
    assert again.original_frozen
    modes = [{n: m.training for n, m in each.named_modules()} for each in (model, again)]
    assert modes[0] == modes[1]
    for each in (model, again):
        x.grad = None
        each(x, skip=base_net).square().sum().backward()
    gradients = [
        {n: p.grad for n, p in each.named_parameters() if p.grad is not None}
        for each in (model, again)
    ]
    assert gradients[0]
    assert_equal(*gradients)
    for each in (model, again):
        each.freeze_original(False)
        each.eval()
    assert_equal(outputs_of(model, x), outputs_of(again, x))
    learning = [{n for n, p in e.named_parameters() if p.requires_grad} for e in (model, again)]
    assert learning[0] == learning[1] == {n for n, _ in model.named_parameters()}


def test_a_network_that_decides_by_sizes_takes_other_sizes_where_it_arrives() -> None:
    model, x = converted("sized tokens", "graph")
    model(x[..., :4, :4])
    again = there_and_back(model)
    for inputs in (x, x[..., :4, :4]):
        assert_equal(outputs_of(model, inputs), outputs_of(again, inputs))


def test_a_spawned_process_runs_it_over_the_same_memory() -> None:
    model, x = converted("post-activation", "in place")
    expected = outputs_of(model, x)
    context = get_context("spawn")
    there, back = context.Queue(), context.Queue()
    child = context.Process(target=answer, args=(there, back, x))
    child.start()
    try:
        there.put(model)
        assert_equal(expected, back.get(timeout=120))
        assert back.get(timeout=120) == "changed"
        assert not next(model.parameters()).any()  # as torch shares the weights of any module
        there.put("done")
        child.join(timeout=120)
        assert child.exitcode == 0
    finally:
        child.kill()


def test_workers_of_a_data_loader_take_it() -> None:
    model, x = converted("post-activation", "graph")
    data = Featured(model.eval(), torch.cat([x, x + 1]))
    expected = torch.cat([data[number] for number in range(len(data))])
    loader = DataLoader(data, num_workers=1, multiprocessing_context="spawn", batch_size=None)
    torch.testing.assert_close(torch.cat(list(loader)), expected, rtol=0, atol=0)


def test_workers_of_joblib_take_what_is_sendable() -> None:
    model, x = converted("post-activation", "in place")
    with joblib.parallel_config("loky", n_jobs=2):
        call = joblib.delayed(outputs_of)
        with pytest.raises(pickle.PicklingError) as refused:
            joblib.Parallel()(call(model, part) for part in (x, x + 1))
        assert "subpath.sendable" in str(refused.value.__cause__)
        found = joblib.Parallel()(call(subpath.sendable(model), part) for part in (x, x + 1))
    assert_equal(outputs_of(model, x), found[0])
    assert_equal(outputs_of(model, x + 1), found[1])


@pytest.mark.parametrize("run", RUNS)
def test_files_refuse_it(run: str, tmp_path: Path) -> None:
    model, _ = converted("post-activation", run)
    for write in (
        lambda: pickle.dumps(model),
        lambda: torch.save(model, io.BytesIO()),
        lambda: torch.save({"model": nn.Sequential(model)}, io.BytesIO()),
        lambda: joblib.dump(model, tmp_path / "model.joblib"),
    ):
        with pytest.raises(subpath.SubpathError, match=r"subpath\.save\(model, directory\)"):
            write()


def test_only_adaptive_models_are_sendable() -> None:
    with pytest.raises(subpath.SubpathError, match="got a Linear; expected a converted model"):
        subpath.sendable(nn.Linear(2, 2))  # type: ignore[arg-type]
