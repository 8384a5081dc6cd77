"""Which configs are listed."""

from __future__ import annotations

import pytest

from subpath.measure import useful_configs


def test_few_stages_list_everything() -> None:
    assert useful_configs(2) == ("FF", "TF", "FT", "TT")
    assert len(useful_configs(5)) == 32


def test_many_stages_list_single_stages_and_prefixes() -> None:
    assert useful_configs(6) == (
        "FFFFFF",
        "TFFFFF",
        "FTFFFF",
        "FFTFFF",
        "FFFTFF",
        "FFFFTF",
        "FFFFFT",
        "TTFFFF",
        "TTTFFF",
        "TTTTFF",
        "TTTTTF",
        "TTTTTT",
    )


@pytest.mark.parametrize("stages", range(6, 13))
def test_no_config_twice(stages: int) -> None:
    configs = useful_configs(stages)
    assert len(set(configs)) == len(configs) == 2 * stages
