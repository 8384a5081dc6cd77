"""Networks from words: a callable's arguments stay as they were given."""

from __future__ import annotations

import copy

import torch

from subpath.maker import maker


def test_arguments_that_a_network_changes_make_it_again() -> None:
    """timm's EfficientNet takes its lists of blocks apart while it is made."""
    block = {"block_type": "ir", "stride": 1, "out_chs": 16, "exp_ratio": 2.0, "act_layer": None}
    arguments = {"block_args": [[dict(block), dict(block)]], "stem_size": 16, "fix_stem": True}
    before = copy.deepcopy(arguments)
    make = maker("timm.models.efficientnet:EfficientNet", arguments)
    one, other = make(), make()
    assert arguments == before
    assert one.state_dict().keys() == other.state_dict().keys()
    assert one.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
