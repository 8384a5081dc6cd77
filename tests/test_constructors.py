"""Networks from words: a callable's arguments stay as they were given."""

from __future__ import annotations

import copy
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from subpath.constructors import constructor
from subpath.errors import ModelError


def test_arguments_that_a_network_changes_make_it_again() -> None:
    """timm's EfficientNet takes its lists of blocks apart while it is made."""
    block = {"block_type": "ir", "stride": 1, "out_chs": 16, "exp_ratio": 2.0, "act_layer": None}
    arguments = {"block_args": [[dict(block), dict(block)]], "stem_size": 16, "fix_stem": True}
    before = copy.deepcopy(arguments)
    make = constructor("timm.models.efficientnet:EfficientNet", arguments)
    one, other = make(), make()
    assert arguments == before
    assert one.state_dict().keys() == other.state_dict().keys()
    assert one.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


class Config:
    """Takes whatever it is given, as configs of transformers do."""

    attribute_map = {"width": "hidden_size"}  # noqa: RUF012

    def __init__(self, hidden_size: int = 8, **others: Any) -> None:
        self.hidden_size = others.pop("width", hidden_size)
        vars(self).update(others)


class Network(nn.Module):
    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_nothing(cls, hidden_size: int) -> Network:
        return cls(Config(hidden_size))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("library_for_test")
    vars(module)["Network"] = Network
    monkeypatch.setitem(sys.modules, "library_for_test", module)


@pytest.mark.usefixtures("library")
def test_what_takes_a_config_is_made_from_its_fields() -> None:
    def size(name: str, **arguments: Any) -> int:
        model: Any = constructor(f"library_for_test:{name}", arguments)()
        return int(model.config.hidden_size)

    assert size("Network") == 8
    assert size("Network", hidden_size=3) == 3
    assert size("Network", width=4) == 4
    assert size("Network.from_nothing", hidden_size=5) == 5


@pytest.mark.usefixtures("library")
def test_a_field_that_the_config_does_not_know() -> None:
    make = constructor("library_for_test:Network", {"hiden_size": 3})
    with pytest.raises(ModelError, match=r"got hiden_size .* near hiden_size: hidden_size"):
        make()
