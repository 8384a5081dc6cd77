"""Latency: what is run, in which order, and what is made of the times; no time is asserted."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

import subpath
from subpath.errors import MeasureError
from subpath.measure import LatencyTable, count_macs, latency, measured_table
from subpath.measure.latency import summarise
from subpath.measure.noise import interval, quartiles, resampled_medians
from subpath.measure.timing import interleave
from subpath.skip import SkipConfig, skip_configs
from toys import TOYS, taken_out


class Clock:
    """A clock that only work moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += seconds

        return run


def test_sides_are_warmed_up_and_timed_in_turns() -> None:
    clock = Clock()
    sides = {"a": clock.work("a", 0.5), "b": clock.work("b", 0.25)}
    finish = clock.work("finish", 0.125)
    times = interleave(sides, 8, finish=finish, clock=lambda: clock.now)
    assert times == {"a": [625.0] * 8, "b": [375.0] * 8}
    assert clock.log[:3] == ["a", "b", "finish"]  # nothing of the warm-up is timed
    timed = clock.log[9:]
    assert timed[1::2] == ["finish"] * 16
    turns = list(zip(timed[0::4], timed[2::4], strict=True))
    assert {frozenset(turn) for turn in turns} == {frozenset("ab")}
    assert len(set(turns)) == 2  # not always the same one first


@pytest.mark.parametrize(("seconds", "rounds"), [(10, 15), (0.05, 100), (0.001, 300)])
def test_as_many_rounds_as_five_seconds_allow(seconds: float, rounds: int) -> None:
    clock = Clock()
    times = interleave({"a": clock.work("a", seconds)}, clock=lambda: clock.now)
    assert abs(len(times["a"]) - rounds) <= 1


@pytest.mark.parametrize("rounds", [15, 60])
def test_intervals_enclose_what_is_true_as_often_as_they_say(rounds: int) -> None:
    """Noise as on a busy machine: slow drift that all sides share, and bursts that hit one."""
    random = torch.Generator().manual_seed(1)
    enclosed, repetitions = 0, 300
    for _ in range(repetitions):
        drift = torch.rand(rounds, generator=random).cumsum(0)
        bursts = torch.rand(2, rounds, generator=random) ** 4 * 5
        one, other = (7 + drift + bursts[0]).tolist(), (4 + drift + bursts[1]).tolist()
        medians = resampled_medians({"one": one, "other": other})
        low, high = interval(medians["one"] - medians["other"])
        enclosed += low <= 3 <= high
    assert 0.92 <= enclosed / repetitions <= 1.0


def test_quartiles() -> None:
    assert quartiles([4.0, 0.0, 3.0, 1.0, 2.0]) == (1.0, 3.0)


def summary(times: Mapping[str, Sequence[float]], stages: int) -> dict[str, Any]:
    given_times = {SkipConfig(skip): values for skip, values in times.items()}
    return {e.skip: e for e in summarise(list(skip_configs(stages)), given_times, {})}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(0, 2**31))
def test_predictions_are_exact_where_savings_add_up(savings: list[int], seed: int) -> None:
    """Each round is slower or faster as a whole; what a stage takes is the same in each."""
    drift = random.Random(seed)
    stages, rest = len(savings), 7
    truth = {
        skip: rest + sum(s for s, letter in zip(savings, skip, strict=True) if letter == "F")
        for skip in skip_configs(stages)
    }
    rounds = [drift.randint(0, 1000) for _ in range(9)]
    times = {
        skip: [time + extra for extra in rounds]
        for skip, time in truth.items()
        if skip.count("T") in (0, 1, stages)
    }
    found = summary(times, stages)
    whole = found["F" * stages]
    assert whole.source == "measured"
    assert whole.predicted_ms is None
    for skip, entry in found.items():
        assert entry.latency_ms == truth[skip] + statistics.median(rounds)
        assert entry.saving_ms == truth["F" * stages] - truth[skip]
        assert (entry.source == "measured") == (skip in times)
        assert not entry.within_noise
        if entry.predicted_ms is not None:
            assert entry.predicted_ms == entry.latency_ms
            assert entry.prediction_error in (0.0, None)


def test_nothing_is_predicted_to_take_less_than_no_time() -> None:
    noise = [0.0, 30.0, 1.0, 28.0, 2.0, 29.0, 3.0]
    times = {"FF": [20.0 + n for n in noise], "TF": noise, "FT": noise, "TT": noise}
    entry = summary(times, 2)["TT"]
    assert entry.predicted_ms == 0.0
    assert entry.predicted_interval_ms[0] == 0.0


def test_what_is_within_the_noise_and_how_far_a_prediction_is_off() -> None:
    noise = [0.0, 3.0, -3.0, 1.0, -1.0, 2.0, -2.0]
    times = {
        "FF": [20.0] * 7,
        "TF": [20.0 - 0.5 + n for n in noise],  # half a millisecond, lost in the noise
        "FT": [20.0 - 5.0 - n for n in noise],
        "TT": [10.0 + n for n in noise],  # less than the stages promise
    }
    found = summary(times, 2)
    assert not found["FF"].within_noise
    assert found["TF"].within_noise
    assert not found["FT"].within_noise
    assert found["FT"].quartiles_ms == (13.5, 16.5)
    assert found["TT"].latency_ms == 10.0
    assert found["TT"].predicted_ms == 14.5
    assert found["TT"].prediction_error == pytest.approx(0.45)
    predicted = summary({skip: times[skip] for skip in ("FF", "TF", "FT")}, 2)["TT"]
    assert predicted.source == "predicted"
    assert predicted.saving_ms == 5.5
    low, high = predicted.saving_interval_ms
    assert low == high == 5.5  # the noise of the one is the other's, turned round


@pytest.fixture(scope="module")
def toy() -> Any:
    return TOYS["post-activation"]


@pytest.mark.parametrize(("every", "compiled"), [(False, False), (True, True)])
def test_each_side_runs_its_own_config(
    toy: Any, every: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of being timed, each side's output is compared with the blocks taken out by hand."""
    original, images = toy.build().eval(), toy.input()
    model = subpath.convert(original, images).train()
    seen = {}

    def check(sides: Mapping[SkipConfig, Callable[[], Any]], rounds: int | None, **_: Any) -> Any:
        for skip, run in sides.items():
            gone = [block for i in skip.skipped for block in model.stages[i].skippable]
            expected = taken_out(original, gone)(images)
            seen[str(skip)] = run()
            torch.testing.assert_close(seen[str(skip)], expected, rtol=0, atol=1e-6)
            assert not seen[str(skip)].requires_grad
        return {skip: [float(skip.count("F"))] * 6 for skip in sides}

    monkeypatch.setattr(interleave_home(), "interleave", check)
    threads = torch.get_num_threads()
    with torch.compiler.set_stance("force_eager"):  # the compiler itself takes a minute
        table = latency(model, images, every=every, threads=threads + 1, compiled=compiled)
    assert table.conditions.runtime.endswith(", compiled") == compiled
    assert set(seen) == {"FF", "TF", "FT", "TT"}
    assert table.conditions.threads == threads + 1
    assert torch.get_num_threads() == threads
    assert table.conditions.batch == len(images)
    assert model.training


def interleave_home() -> Any:
    """The module; ``subpath.measure.latency`` is the function."""
    import sys

    return sys.modules["subpath.measure.latency"]


def test_a_measurement() -> None:
    network = timm.create_model("resnet18", channels=(8, 8, 8, 8), num_classes=4).eval()
    model = subpath.convert(network, torch.zeros(2, 3, 32, 32))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = latency(model, torch.randn(3, 3, 32, 32), rounds=6, precision="bf16")
    assert isinstance(table, LatencyTable)
    assert table.rounds == 6
    assert table.input_shapes == ((3, 3, 32, 32),)
    assert (table.conditions.precision, table.conditions.batch) == ("bf16", 3)
    assert table.conditions.runtime == f"torch {version('torch')}"
    assert table.conditions.device
    measured = {e.skip for e in table.configs if e.source == "measured"}
    assert measured == {"FFFF", "TFFF", "FTFF", "FFTF", "FFFT", "TTTT"}
    assert [e.skip for e in table.checked] == ["TTTT"]
    assert table.prediction_error == abs(table["TTTT"].predicted_ms / table["TTTT"].measured_ms - 1)
    assert all(e.measured_ms > 0 for e in table.configs if e.source == "measured")
    assert all(e.peak_memory_mib is None for e in table.configs)  # on a CPU
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["rounds"] == 6
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])


def test_what_is_known_in_one_table(toy: Any) -> None:
    model = subpath.convert(toy.build(), toy.input())
    times = latency(model, rounds=6)
    assert times.conditions.batch == 1
    table = measured_table(count_macs(model), times, {"FF": 90.0})
    assert [c.skip for c in table.configs] == list(model.skip_configs())
    assert table.conditions == times.conditions
    assert [c.top1 for c in table.configs] == [90.0, None, None, None]
    assert [c.latency_ms for c in table.configs] == [e.latency_ms for e in times.configs]
    assert table.choose(max_gmacs=100) == "FF"
    assert measured_table(count_macs(model)).conditions is None


def test_errors_say_what_was_expected(toy: Any) -> None:
    model = subpath.convert(toy.build(), toy.input())
    with pytest.raises(MeasureError, match="6 or more"):
        latency(model, rounds=3)
    with pytest.raises(MeasureError, match="fp32, bf16"):
        latency(model, precision="fp8")
    with pytest.raises(MeasureError, match="threads=0"):
        latency(model, threads=0)
    with pytest.raises(MeasureError, match="while timing"):
        latency(model, torch.zeros(1, 5, 8, 8), rounds=6)
    with pytest.raises(MeasureError, match="meta"):
        latency(model.to("meta"), rounds=6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_cuda_device() -> None:
    network = timm.create_model("resnet18").eval().cuda()
    model = subpath.convert(network, torch.zeros(2, 3, 64, 64, device="cuda"))
    table = latency(model, torch.zeros(8, 3, 64, 64), rounds=6, precision="bf16")
    assert table.conditions.device == torch.cuda.get_device_name()
    assert table.conditions.threads is None
    assert table["FFFF"].peak_memory_mib > 0
