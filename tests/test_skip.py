"""Skip configs: strings of T and F and nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import skip_texts
from subpath.errors import SkipConfigError, SubpathError
from subpath.skip import SkipConfig, skip_configs

counts = st.integers(1, 8)


@given(counts.flatmap(skip_texts))
def test_a_config_is_its_text(text: str) -> None:
    config = SkipConfig(text, len(text))
    assert config == text
    assert {config: 1}[text] == 1
    assert str(config) == text
    assert SkipConfig(config) == config
    assert config.skipped == tuple(i for i in range(len(text)) if config.skips(i))
    assert "".join("T" if config.skips(i) else "F" for i in range(len(text))) == text


@given(st.text().filter(lambda text: not text or set(text) - set("TF")))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(SkipConfigError) as caught:
        SkipConfig(text)
    assert repr(text) in str(caught.value)
    assert "'T' (skip)" in str(caught.value)


@pytest.mark.parametrize("value", [None, True, 3, ["T", "F"], ("T",), b"TF"])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(SkipConfigError, match=type(value).__name__):
        SkipConfig(value)


@given(counts.flatmap(skip_texts), counts)
def test_another_length_is_refused(text: str, stages: int) -> None:
    if len(text) == stages:
        assert SkipConfig(text, stages) == text
        return
    with pytest.raises(SkipConfigError) as caught:
        SkipConfig(text, stages)
    assert f"{len(text)} letters; expected {stages}" in str(caught.value)


def test_the_example_in_a_refusal_is_a_config_that_fits() -> None:
    with pytest.raises(SkipConfigError) as caught:
        SkipConfig("T", 3)
    example = str(caught.value).rpartition("example ")[2].strip("'")
    assert SkipConfig(example, 3)


def test_a_refusal_is_a_value_error_too() -> None:
    assert issubclass(SkipConfigError, ValueError)
    assert issubclass(SkipConfigError, SubpathError)


@given(counts)
def test_super_net_and_base_net(stages: int) -> None:
    assert SkipConfig.super_net(stages) == "F" * stages
    assert SkipConfig.super_net(stages).skipped == ()
    assert SkipConfig.base_net(stages) == "T" * stages
    assert SkipConfig.base_net(stages).skipped == tuple(range(stages))


def test_the_config_that_skips_some_stages() -> None:
    assert SkipConfig.of([2], 4) == "FFTF"
    assert SkipConfig.of(range(2), 4) == "TTFF"
    assert SkipConfig.of([], 2) == SkipConfig.super_net(2)


def test_two_stages_in_order() -> None:
    assert list(skip_configs(2)) == ["FF", "TF", "FT", "TT"]


@given(counts)
def test_all_configs(stages: int) -> None:
    configs = list(skip_configs(stages))
    assert len(set(configs)) == len(configs) == 2**stages
    assert configs[0] == SkipConfig.super_net(stages)
    assert configs[-1] == SkipConfig.base_net(stages)
    assert all(len(config) == stages for config in configs)
    for first, second in pairwise(configs):
        earlier = (len(first.skipped), first.skipped)
        assert earlier < (len(second.skipped), second.skipped)
