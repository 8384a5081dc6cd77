"""``fit``, adapters and generation of networks of transformers, small and with random weights."""

from __future__ import annotations

import pytest
import torch

import subpath

pytestmark = pytest.mark.libraries
transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
TEXT = {"num_hidden_layers": 8, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2}
MADE = {
    "llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SMALL, **TEXT, pad_token_id=0)
    ),
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL, **TEXT)),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(**SMALL, num_hidden_layers=8, image_size=32, patch_size=8)
    ),
    "swin": lambda: transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=32,
            patch_size=2,
            embed_dim=16,
            depths=[2, 2, 2],
            num_heads=[2, 2, 2],
            window_size=4,
        )
    ),
}


def batches(name: str) -> list[dict[str, torch.Tensor]]:
    if name in ("vit", "swin"):
        return [{"pixel_values": torch.randn(4, 3, 32, 32)} for _ in range(3)]
    ids = [torch.randint(3, 99, (4, 12)) for _ in range(3)]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]


@pytest.mark.parametrize("name", MADE)
@torch.no_grad()
def test_fitted_without_touching_the_original(name, tmp_path):
    torch.manual_seed(0)
    network, data = MADE[name]().eval(), batches(name)
    model = subpath.convert(network)
    base = "T" * len(model.stages)
    whole = network(**data[0]).logits
    before = (model(**data[0], skip=base).logits - whole).norm()
    mask = "attention_mask" if "attention_mask" in data[0] else None
    found = subpath.fit(model, data, mask=mask, max_cost=0.05)
    assert len(found.patches) == len(model.stages)
    assert torch.equal(model(**data[0]).logits, whole)
    after = model(**data[0], skip=base).logits
    assert (after - whole).norm() < before
    assert torch.equal(model.subnet(base)(**data[0]).logits, after)
    model.save_adapter(tmp_path)
    again = subpath.load_adapter(network, tmp_path)
    assert torch.equal(again(**data[0], skip=base).logits, after)


@torch.no_grad()
def test_generation_with_patches_and_the_cache():
    torch.manual_seed(0)
    network, data = MADE["llama"]().eval(), batches("llama")
    model = subpath.convert(network)
    subpath.fit(model, data, mask="attention_mask", max_cost=0.05)
    how = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(model.generate(**data[0], **how), network.generate(**data[0], **how))
    base = "T" * len(model.stages)
    ids = data[0]["input_ids"]
    with model.using(base):
        found = model.generate(**data[0], **how)
        for _ in range(6):  # one token after the other, nothing cached
            best = model(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, best[:, None]], 1)
    width = found.shape[1]
    ended = (found == 2).cumsum(1).bool()
    assert torch.equal(found.masked_fill(ended, 0), ids[:, :width].masked_fill(ended, 0))


def test_only_what_is_new_learns():
    model = subpath.convert(MADE["bert"]().eval())
    data = batches("bert")[0]
    model.set_patches(model.possible_patches())
    model.freeze_original()
    model.train()
    assert not model.bert.training
    model(**data, skip="T" * len(model.stages)).logits.square().sum().backward()
    learned = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learned == {n for n, _ in model.skip_aware_parameters()}
