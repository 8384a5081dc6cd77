"""Choosing by a budget, against a search through all configs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subpath.choice import Conditions, MeasuredConfig, MeasuredTable, pareto_front
from subpath.errors import ChoiceError
from subpath.skip import SkipConfig, skip_configs

CPU = Conditions("a CPU", 2, "fp32", 8, "torch 2.6")
FEW = st.sampled_from([1.0, 2.0, 2.5, 3.0, 7.0])  # few values, so that some are equal


def table(*rows: tuple[str, float | None, float | None, float | None]) -> MeasuredTable:
    """Rows of skip config, GMACs, latency and top-1."""
    configs = (
        MeasuredConfig(SkipConfig(skip), gmacs, latency, latency and "measured", top1)
        for skip, gmacs, latency, top1 in rows
    )
    return MeasuredTable(tuple(configs), CPU)


FOUR = table(("FF", 4, 8, 77), ("TF", 3, 7, 76), ("FT", 3.5, 7.5, 75), ("TT", 2, 5, 74))


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        ({}, "FF"),
        ({"max_latency_ms": 8}, "FF"),
        ({"max_latency_ms": 7.9}, "TF"),  # FT costs more than TF and is worse
        ({"max_latency_ms": 6}, "TT"),
        ({"max_gmacs": 3.9}, "TF"),
        ({"max_latency_ms": 9, "max_gmacs": 2.9}, "TT"),
        ({"min_top1": 75.5}, "TF"),  # the cheapest that is good enough
        ({"min_top1": 74}, "TT"),
        ({"min_top1": 74, "max_latency_ms": 7}, "TF"),  # the best within the budget
    ],
)
def test_choices(budget: dict[str, float], chosen: str) -> None:
    assert FOUR.choose(**budget) == chosen
    assert isinstance(FOUR.choose(**budget), SkipConfig)


def test_without_accuracy_the_most_of_the_network_counts() -> None:
    known = table(("FF", 4, 8, None), ("TF", 3, 6, None), ("FT", 3.5, 7, None), ("TT", 2, 5, None))
    assert known.choose(max_latency_ms=7) == "FT"
    assert known.choose(max_gmacs=3.4) == "TF"
    assert known.dominated() == frozenset()
    only_time = table(("F", None, 8, None), ("T", None, 6, None))
    assert only_time.choose(max_latency_ms=9) == "F"


def test_of_equals_the_cheaper_then_the_one_that_skips_less_and_earlier() -> None:
    same = table(("TT", 2, 4, 70), ("FT", 3, 4, 70), ("TF", 3, 4, 70), ("FF", 4, 5, 70))
    assert same.choose(max_latency_ms=5) == "TT"
    equal = table(("FTT", 2, 4, 70), ("FFT", 2, 4, 70), ("TFF", 2, 4, 70))
    assert equal.choose(max_latency_ms=5) == "TFF"


def test_a_known_accuracy_counts_more_than_none() -> None:
    known = table(("FF", 4, 8, None), ("TF", 3, 6, 50), ("FT", 3.5, 7, None), ("TT", 2, 5, None))
    assert known.choose(max_gmacs=4) == "TF"
    assert known.choose(max_gmacs=2.5) == "TT"
    assert known.choose(min_top1=40) == "TF"


@given(st.data())
def test_choices_equal_a_search(data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, 3))
    optional = st.none() | FEW
    rows = [
        (skip, *data.draw(st.tuples(optional, optional, optional))) for skip in skip_configs(stages)
    ]
    rows[0] = (rows[0][0], 7.0, 7.0, 7.0)  # every column is known of one config at least
    measured = table(*data.draw(st.permutations(rows)))
    budget = data.draw(
        st.fixed_dictionaries(
            {}, optional={"max_latency_ms": FEW, "max_gmacs": FEW, "min_top1": FEW}
        )
    )
    high = math.inf

    def fits(gmacs: float | None, latency: float | None, top1: float | None) -> bool:
        return (
            ("max_gmacs" not in budget or (gmacs or high) <= budget["max_gmacs"])
            and ("max_latency_ms" not in budget or (latency or high) <= budget["max_latency_ms"])
            and ("min_top1" not in budget or (top1 or 0) >= budget["min_top1"])
        )

    fitting = {skip: values for skip, *values in rows if fits(*values)}
    if not fitting:
        with pytest.raises(ChoiceError, match=r"nearest|of no config"):
            measured.choose(**budget)
        return
    gmacs, latency, top1 = fitting[measured.choose(**budget)]
    if set(budget) == {"min_top1"}:
        assert (latency or high) == min(other[1] or high for other in fitting.values())
    elif any(other[2] for other in fitting.values()):
        best = max(other[2] or 0 for other in fitting.values())
        assert top1 == best
        assert (latency or high) == min(o[1] or high for o in fitting.values() if o[2] == best)
    elif any(other[0] for other in fitting.values()):
        assert gmacs == max(other[0] or 0 for other in fitting.values())


@given(st.lists(st.tuples(FEW, FEW)))
def test_the_front_equals_a_comparison_of_all_pairs(points: list[tuple[float, float]]) -> None:
    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    assert pareto_front(points) == [not any(beats(q, p) for q in points) for p in points]


def test_fronts_and_dominated_configs() -> None:
    assert FOUR.front("gmacs") == {"FF", "TF", "TT"}
    assert FOUR.dominated() == {"FT"}
    # Good for its arithmetic, though slow: on one front, so not dominated.
    mixed = table(("FF", 4, 8, 77), ("TF", 3, 9, 76), ("FT", 3.5, 7.5, 76), ("TT", 2, 5, None))
    assert mixed.front("latency_ms") == {"FF", "FT"}
    assert mixed.dominated() == frozenset()


def test_errors_name_what_is_missing_and_what_is_nearest() -> None:
    with pytest.raises(ChoiceError, match=r"max_latency_ms=4.*nearest is TT with 5 ms"):
        FOUR.choose(max_latency_ms=4)
    with pytest.raises(ChoiceError, match="nearest is FF with 77 % top-1"):
        FOUR.choose(min_top1=90)
    counted = MeasuredTable((MeasuredConfig(SkipConfig("F"), gmacs=1.0),))
    with pytest.raises(ChoiceError, match=r"no config of this table has a latency.*multiply-adds"):
        counted.choose(max_latency_ms=4)
    with pytest.raises(ChoiceError, match="expected a number"):
        FOUR.choose(max_gmacs="4")  # type: ignore[arg-type]
    with pytest.raises(ChoiceError, match="'FFF'"):
        FOUR["FFF"]
    assert FOUR["TF"].top1 == 76


def test_json_round_trip() -> None:
    partly = table(("FF", 4, None, 77), ("TF", None, 7, None))
    text = json.dumps(partly.to_dict(), allow_nan=False)
    assert MeasuredTable.from_dict(json.loads(text)) == partly
    assert partly.to_dict()["configs"][0] == {"skip": "FF", "gmacs": 4, "top1": 77}
    counted = MeasuredTable((MeasuredConfig(SkipConfig("F"), gmacs=1.0),))
    assert MeasuredTable.from_dict(counted.to_dict()) == counted


ENTRY = {"skip": "F", "gmacs": 1.0}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "NoneType"),
        ({"configs": []}, "no 'conditions'"),
        ({"conditions": None, "configs": []}, "one or more"),
        ({"conditions": None, "configs": [ENTRY], "more": 1}, "unknown key 'more'"),
        ({"conditions": None, "configs": [[]]}, "entry 0"),
        ({"conditions": None, "configs": [{"gmacs": 1.0}]}, "no 'skip'"),
        ({"conditions": None, "configs": [{**ENTRY, "skip": "X"}]}, "'X'"),
        ({"conditions": None, "configs": [{**ENTRY, "gmacs": True}]}, "bool"),
        ({"conditions": None, "configs": [{**ENTRY, "gmacs": "1"}]}, "str"),
        ({"conditions": None, "configs": [{**ENTRY, "gmacs": float("nan")}]}, "nan"),
        ({"conditions": None, "configs": [{**ENTRY, "gmacs": 10**400}]}, "gmacs"),
        ({"conditions": None, "configs": [{**ENTRY, "top1": 100.5}]}, "100"),
        ({"conditions": None, "configs": [ENTRY, ENTRY]}, "each once"),
        ({"conditions": None, "configs": [ENTRY, {"skip": "TT"}]}, "one length"),
        ({"conditions": None, "configs": [{**ENTRY, "latency_ms": 1.0}]}, "latency_from"),
        ({"conditions": None, "configs": [{**ENTRY, "latency_from": "guess"}]}, "latency_from"),
        (
            {
                "conditions": None,
                "configs": [{**ENTRY, "latency_ms": 1.0, "latency_from": "measured"}],
            },
            "without conditions",
        ),
        ({"conditions": {"device": "x"}, "configs": [ENTRY]}, "no 'threads'"),
    ],
)
def test_bad_tables_are_refused(data: Any, said: str) -> None:
    with pytest.raises(ChoiceError) as refused:
        MeasuredTable.from_dict(data)
    assert said in str(refused.value)
