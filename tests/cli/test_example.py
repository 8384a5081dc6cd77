"""Inputs in words: sizes, shapes, and descriptions of tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from subpath.cli.example import Example, as_example, parse_example, parse_input_size
from subpath.errors import ModelError, SubpathError


def test_input_size() -> None:
    assert parse_input_size(None) is None
    assert parse_input_size("3,224,160") == (3, 224, 160)
    assert parse_input_size("3x224x160") == (3, 224, 160)
    assert parse_input_size("3 X 224 x 160") == (3, 224, 160)
    assert parse_input_size("(3, 224, 160)") == (3, 224, 160)
    assert parse_input_size("16") == (16,)


@pytest.mark.parametrize("text", ["", "3,,4", "3;4", "3,-4,4", "0,4,4", "a", "3x", "\u00b2,4,4"])
def test_wrong_input_size(text: str) -> None:
    with pytest.raises(SubpathError, match="3,224,224"):
        parse_input_size(text)


class Any_(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError


class Pair(nn.Module):
    def forward(self, left: Any, right: Any = None) -> None:
        raise NotImplementedError


def made(text: str, model: nn.Module | None = None) -> Any:
    return as_example(parse_example(None, text).inputs(model or Any_()))


def test_one_tensor_by_its_shape() -> None:
    (tensor,) = made("[2, 3, 8, 8]")
    assert (tensor.shape, tensor.dtype) == ((2, 3, 8, 8), torch.float32)
    assert torch.equal(tensor, made("[2, 3, 8, 8]")[0])
    assert tensor.std() > 0.5
    (half,) = made("[2, 4]", nn.Linear(4, 4).half())
    assert half.dtype is torch.float16


def test_several_tensors() -> None:
    first, second = made("[[1, 3, 8, 8], [1, 1, 8, 8]]")
    assert (first.shape, second.shape) == ((1, 3, 8, 8), (1, 1, 8, 8))


def test_tensors_by_name() -> None:
    text = """{
        "input_ids": {"shape": [2, 16], "dtype": "int64", "low": 5, "high": 8},
        "attention_mask": {"shape": [2, 16], "dtype": "int64", "value": 1},
        "pixel_values": [2, 3, 8, 8],
        "parts": {"left": [2, 1], "right": [[2, 2], {"shape": [2, 3], "dtype": "bool"}]},
        "timestep": 3, "mode": "train", "return_dict": false, "labels": null
    }"""
    inputs = made(text)
    assert set(inputs["input_ids"].flatten().tolist()) == {5, 6, 7}
    assert torch.equal(inputs["attention_mask"], torch.ones(2, 16, dtype=torch.long))
    assert inputs["pixel_values"].shape == (2, 3, 8, 8)
    assert inputs["parts"]["left"].shape == (2, 1)
    assert [part.shape for part in inputs["parts"]["right"]] == [(2, 2), (2, 3)]
    assert inputs["parts"]["right"][1].dtype is torch.bool
    assert [inputs[name] for name in ("timestep", "mode", "return_dict", "labels")] == [
        3,
        "train",
        False,
        None,
    ]


def test_a_name_may_be_that_of_a_key() -> None:
    inputs = made('{"value": [2, 4, 8]}')
    assert inputs["value"].shape == (2, 4, 8)


def test_what_is_in_a_tensor() -> None:
    (numbers,) = made('{"shape": [1000], "low": -3, "high": -1}')
    assert numbers.min() >= -3
    assert numbers.max() < -1
    (bits,) = made('{"shape": [64], "dtype": "int32"}')
    assert (set(bits.tolist()), bits.dtype) == ({0, 1}, torch.int32)
    (yes,) = made('{"shape": [4], "dtype": "bool", "value": true}')
    assert yes.tolist() == [True] * 4


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text("[2, 3, 8, 8]")
    assert made(f"@{tmp_path / 'inputs.json'}")[0].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[2, 3", "no JSON"),
        ("@nowhere.json", "nowhere.json cannot be read"),
        ("3", "for one tensor"),
        ("[]", "for one tensor"),
        ("{}", "for one tensor"),
        ("[2, 0]", r"the shape \[2, 0\]"),
        ('{"x": {"shape": "2x3"}}', "'2x3' for x; expected positive numbers"),
        ('{"x": {"dtype": "int64", "high": 3}}', "no shape for x"),
        ('{"x": {"shape": [2], "max": 3}}', "the key max for x; expected only shape, dtype, low"),
        ('[{"shape": [2], "dtype": "long"}]', r"the dtype 'long' for \[0\]; expected one of"),
        ('{"shape": [2], "dtype": "int64", "high": 1.5}', "high 1.5 for int64"),
        ('{"shape": [2], "low": "a"}', "low 'a'; expected a number"),
        ('{"shape": [2], "low": 3, "high": 3}', "low 3 and high 3; expected low below high"),
        ('{"shape": [2], "value": 3, "high": 3}', "high, value; expected value alone"),
        ('{"shape": [2], "dtype": "bool", "high": 3}', "high 3 for bool"),
    ],
)
def test_wrong_inputs(text: str, said: str) -> None:
    with pytest.raises(SubpathError, match=said) as caught:
        parse_example(None, text)
    assert "--input" in str(caught.value)


def test_one_of_two_options() -> None:
    with pytest.raises(SubpathError, match="--input-size and --input"):
        parse_example("3,8,8", "[2, 3, 8, 8]")


def test_names_that_the_network_does_not_take() -> None:
    assert set(made('{"right": [2, 1], "left": [2, 1]}', Pair())) == {"left", "right"}
    with pytest.raises(ModelError, match=r"middle.* Pair .*left, right"):
        made('{"left": [2, 1], "middle": [2, 1]}', Pair())


def test_nothing_said() -> None:
    assert parse_example(None, None) == Example()
    assert not Example()
    assert parse_example("3,8,8", None).inputs(Pair()).args[0].shape == (2, 3, 8, 8)
    with pytest.raises(ModelError, match=r"--input-size .* or --input"):
        Example().inputs(Pair())
