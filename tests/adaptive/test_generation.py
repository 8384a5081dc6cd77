"""Causal language models of transformers generate with their cache under any skip config."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import subpath

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]

DEPTH = 6
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@dataclass(frozen=True)
class Family:
    """A class of networks, its config, and where it keeps its layers."""

    name: str
    config: dict[str, Any]
    layers: str

    def __str__(self) -> str:
        return self.name


FAMILIES = [
    Family("GPT2LMHeadModel", {"n_embd": 32, "n_layer": DEPTH, "n_head": 4}, "transformer.h"),
    Family("LlamaForCausalLM", _LLAMA, "model.layers"),
    Family("MistralForCausalLM", {**_LLAMA, "sliding_window": 8}, "model.layers"),
    Family("Qwen2ForCausalLM", _LLAMA, "model.layers"),
    Family("Gemma2ForCausalLM", {**_LLAMA, "head_dim": 8}, "model.layers"),
    Family("GPTNeoXForCausalLM", _LLAMA, "gpt_neox.layers"),
    Family(
        "OPTForCausalLM",
        {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
        },
        "model.decoder.layers",
    ),
]


@pytest.fixture(params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


def make(family: Family) -> Any:
    made = getattr(transformers, family.name)
    tokens = {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    model = made(made.config_class(**family.config, **tokens)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # else all layers are much alike
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.generation_config.eos_token_id = None  # random weights may end at once
    return model


def generate(model: Any, **more: Any) -> torch.Tensor:
    words = torch.tensor([[0, 0, 5, 17, 40], [8, 60, 33, 12, 71]])
    found: torch.Tensor = model.generate(
        input_ids=words,
        attention_mask=(words > 0).long(),
        max_new_tokens=20,
        do_sample=False,
        **more,
    )
    return found


def without(model: Any, family: Family, names: set[str]) -> Any:
    """A network of fewer layers, each with the place in the cache that it has there."""
    shorter = copy.deepcopy(model)
    layers = shorter.get_submodule(family.layers)
    kept = [layer for n, layer in enumerate(layers) if f"{family.layers}.{n}" not in names]
    for number, layer in enumerate(kept):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number
    shorter.set_submodule(family.layers, torch.nn.ModuleList(kept))
    if getattr(shorter.config, "layer_types", None):
        kinds = zip(layers, shorter.config.layer_types, strict=True)
        shorter.config.layer_types = [kind for layer, kind in kinds if layer in kept]
    shorter.config.num_hidden_layers = len(kept)
    return shorter


def test_the_super_net_generates_what_the_original_does(family: Family) -> None:
    model = make(family)
    adaptive = subpath.convert(model)
    expected = generate(model)
    assert expected.shape == (2, 25)
    assert torch.equal(generate(adaptive), expected)
    assert torch.equal(generate(adaptive, use_cache=False), expected)


def test_each_config_generates_what_fewer_layers_do(family: Family) -> None:
    model = make(family)
    adaptive: Any = subpath.convert(model)
    whole = generate(model)
    for config in adaptive.skip_configs()[1:]:
        skipped = {
            name
            for stage, letter in zip(adaptive.stages, config, strict=True)
            if letter == "T"
            for name in stage.skippable
        }
        assert skipped
        expected = generate(without(model, family, skipped))
        with adaptive.using(config):
            assert torch.equal(generate(adaptive), expected), config
            assert torch.equal(generate(adaptive, use_cache=False), expected), config
        assert not torch.equal(expected, whole), config
    assert torch.equal(generate(adaptive.subnet(config)), expected)


def test_a_config_lasts_for_one_call(family: Family) -> None:
    model = make(family)
    adaptive: Any = subpath.convert(model)
    whole, base = adaptive.skip_configs()[0], adaptive.skip_configs()[-1]
    adaptive.skip = base
    quick = generate(adaptive)
    with adaptive.using(whole):
        assert torch.equal(generate(adaptive), generate(model))
    assert torch.equal(generate(adaptive), quick)
