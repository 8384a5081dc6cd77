"""Outputs of any form: each comparison against its formula, and the step against one by hand."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import subpath
from subpath.distill import (
    Classes,
    Embedding,
    Outputs,
    Values,
    logits_loss,
    outputs_of,
    pooled,
    two_pass_step,
)
from subpath.errors import SubpathError
from toys import randomise

VOCABULARY, WIDTH = 11, 6


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.mix(self.norm(x)).cumsum(1).tanh()


class Language(nn.Module):
    """Four blocks of one shape: two stages of two, where ``plan`` is asked for two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, ids, labels=None):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        if labels is None:
            return {"logits": logits}
        return {"loss": next_token(logits, labels), "logits": logits}


def next_token(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)


def divergence(super_: np.ndarray, base: np.ndarray, temperature: float) -> float:
    """``T^2 sum_c p log(p / q)`` of one place."""
    p, q = (np.exp(v / temperature) / np.exp(v / temperature).sum() for v in (super_, base))
    return float(temperature**2 * (p * np.log(p / q)).sum())


def language():
    net = randomise(Language()).double().train()
    ids = torch.randint(VOCABULARY, (3, 7))
    kept = torch.arange(7) < torch.tensor([[7], [4], [2]])
    return net, subpath.convert(net, ids), ids, kept


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_masked_token_wise_distillation_equals_the_step_by_hand(temperature):
    net, model, ids, kept = language()
    labels = ids.masked_fill(~kept, -100)
    stages = [[int(path.rpartition(".")[2]) for path in stage.blocks] for stage in model.stages]
    skipped = {int(path.rpartition(".")[2]) for stage in model.stages for path in stage.skippable}
    assert skipped
    base = copy.copy(net)
    base._modules = dict(net._modules)
    base.blocks = nn.ModuleList(net.blocks)
    norms = {}
    for number, block in enumerate(net.blocks):
        mandatory = copy.copy(block)
        mandatory._modules = {**block._modules, "norm": copy.deepcopy(block.norm)}
        norms[number] = mandatory.norm
        base.blocks[number] = mandatory

    def through(network, left_out):
        x, ends = network.embed(ids), []
        for stage in stages:
            for number in stage:
                if number not in left_out:
                    x = network.blocks[number](x)
            ends.append(x)
        return network.head(x), ends

    def mean_of_kept(h):  # one sample after the other, its tokens alone
        return torch.stack([row[keep].mean(0) for row, keep in zip(h, kept, strict=True)])

    def kl(s, b):
        p = (s.detach() / temperature).softmax(-1)
        return temperature**2 * (p * (p.log() - (b / temperature).log_softmax(-1))).sum(-1)

    y_super, h_super = through(net, set())
    task = next_token(y_super, labels)
    (0.5 * task).backward()
    y_base, h_base = through(base, skipped)
    learned = kl(y_super[kept], y_base[kept]).mean()
    for s, b in zip(h_super, h_base, strict=True):
        learned = learned + kl(mean_of_kept(s), mean_of_kept(b)).mean()
    (0.5 * learned).backward()

    losses = two_pass_step(
        model,
        ids,
        labels,
        lambda output, targets: next_token(output["logits"], targets),
        temperature=temperature,
        outputs=Outputs({"logits": Classes(dim=-1)}),
        mask=kept,
        feature_mask=kept,
    )
    assert losses.total.item() == pytest.approx((0.5 * task + 0.5 * learned).item(), rel=1e-9)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad, msg=name)
    twins = {n: p for n, p in model.named_parameters() if n.startswith("twin_norms.")}
    assert twins
    for name, parameter in twins.items():
        _, block, _, last = name.rsplit(".", 3)
        expected = norms[int(block)].get_parameter(last).grad
        torch.testing.assert_close(parameter.grad, expected, msg=name)


def test_padding_has_no_part_in_anything():
    """Other tokens at the end change no gradient: the toy is causal."""
    _, model, ids, kept = language()
    other = torch.where(kept, ids, (ids + 1) % VOCABULARY)
    found = []
    for tokens in (ids, other):
        model.zero_grad()
        two_pass_step(
            model,
            tokens,
            tokens.masked_fill(~kept, -100),
            lambda output, targets: next_token(output["logits"], targets),
            outputs=Outputs({"logits": Classes(dim=-1)}),
            mask=kept,
            feature_mask=kept,
        )
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def test_logits_of_tokens_are_refused_in_silence_nowhere():
    _, model, ids, _ = language()
    with pytest.raises(SubpathError, match=r"'logits' of shape \(3, 7, 11\).*Classes\(dim=-1\)"):
        two_pass_step(model, ids, ids, lambda y, t: next_token(y["logits"], t))
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(SubpathError, match="no dim; expected dim=-1 for tokens"):
        logits_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))


def test_a_part_that_is_not_there_is_refused_before_any_gradient():
    _, model, ids, _ = language()
    with pytest.raises(SubpathError, match="no output 'logit'; expected names among 'logits'"):
        two_pass_step(
            model,
            ids,
            ids,
            lambda y, t: next_token(y["logits"], t),
            outputs=Outputs({"logit": Classes(dim=-1)}),
        )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("dim", "shape"), [(-1, (2, 5, 4)), (1, (2, 4, 3, 2)), (1, (3, 4))])
def test_classes_are_the_formula_at_each_place_that_the_mask_keeps(dim, shape):
    random = np.random.default_rng(0)
    base, super_ = random.normal(size=(2, *shape)) * 3
    mask = random.random(np.moveaxis(base, dim, -1).shape[:-1]) < 0.6
    flat = [np.moveaxis(array, dim, -1)[mask] for array in (super_, base)]
    expected = np.mean([divergence(s, b, 2.0) for s, b in zip(*flat, strict=True)])
    got = Classes(dim)(*map(torch.from_numpy, (base, super_, mask)), 2.0)
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_a_mask_that_keeps_nothing_gives_zero():
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    base = torch.randn(2, 5, 4, requires_grad=True)
    loss = Classes(-1)(base, torch.randn(2, 5, 4), nothing, 1.0)
    loss.backward()
    assert loss.item() == 0
    assert not base.grad.any()


def test_embeddings_are_compared_by_their_angle():
    base = torch.tensor([[1.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    super_ = torch.tensor([[5.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    expected = (0 + 2 + (1 - math.sqrt(0.5))) / 3
    assert Embedding()(base, super_, None, 9.0).item() == pytest.approx(expected, rel=1e-6)
    first = torch.tensor([True, False, False])
    assert Embedding()(base, super_, first, 1.0).item() == pytest.approx(0, abs=1e-6)


def test_values_are_compared_by_their_difference():
    base, super_ = (
        torch.tensor([[[1.0, 4.0], [0.0, 0.0]]]),
        torch.tensor([[[2.0, 1.0], [9.0, 9.0]]]),
    )
    first = torch.tensor([[True, False]])
    assert Values("l1", dim=-1)(base, super_, first, 1.0).item() == (1 + 3) / 2
    assert Values("l2", dim=-1)(base, super_, first, 1.0).item() == (1 + 9) / 2
    assert Values("l1")(base, super_, None, 1.0).item() == (1 + 3 + 9 + 9) / 4


def test_parts_are_weighed_and_own_functions_are_welcome():
    base, super_ = {"a": torch.full((2, 3), 2.0), "b": torch.ones(2, 1)}, {}
    super_ = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 1)}
    outputs = Outputs(
        {"a": Values(), "b": lambda b, s, mask, temperature: temperature * (b - s).sum()},
        {"a": 0.25},
    )
    assert outputs.loss(base, super_, temperature=3.0).item() == 0.25 * 4 + 3.0 * 2


def test_what_names_and_shapes_tell():
    output = OrderedDict(
        loss=torch.tensor(1.0),
        logits=torch.zeros(2, 5),
        last_hidden_state=torch.zeros(2, 7, 4),
        pred_boxes=torch.zeros(2, 3, 4),
        hidden_states=(torch.zeros(2, 7, 4),) * 2,
        input_ids=torch.zeros(2, 7, dtype=torch.long),
    )
    assert outputs_of(output).parts == {
        "logits": Classes(),
        "last_hidden_state": Embedding(),
        "pred_boxes": Values("l1", dim=-1),
    }
    assert outputs_of(torch.zeros(2, 5)) == Outputs({"": Classes()}, {})
    halves = {"0": 0.5, "1": 0.5}
    heads = (torch.zeros(2, 5), torch.zeros(2, 5))
    assert outputs_of(heads) == Outputs({"0": Classes(), "1": Classes()}, halves)


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(2, 7, 5),
        torch.zeros(2, 5, 8, 8),
        torch.zeros(2, 1),  # one class has no divergence: silence would be a loss of 0
        {"logits": torch.zeros(2, 7, 5)},
        {"logits": torch.zeros(2, 1)},
        {"values": torch.zeros(2, 5)},
        (torch.zeros(2, 5), torch.zeros(2, 7, 5)),
    ],
)
def test_what_could_be_several_things_is_refused(output):
    with pytest.raises(SubpathError, match="could be several things; expected to be told"):
        outputs_of(output)


def test_the_network_s_own_loss_is_the_task():
    net, model, ids, _ = language()
    outputs = Outputs({"logits": Classes(dim=-1)})
    by_name = subpath.convert(net, {"ids": ids, "labels": ids})
    own = two_pass_step(by_name, {"ids": ids, "labels": ids}, None, None, outputs=outputs)
    given = two_pass_step(
        model, (ids,), ids, lambda y, t: next_token(y["logits"], t), outputs=outputs
    )
    torch.testing.assert_close(own.total, given.total)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(by_name.get_parameter(name).grad, parameter.grad, msg=name)


def test_a_dict_of_losses_is_summed_and_stage_outputs_alone_are_distilled():
    class Detector(Language):
        def forward(self, ids):
            logits = super().forward(ids)["logits"]
            return {"boxes": logits.square().mean(), "classes": next_token(logits, ids)}

    net = randomise(Detector()).double().train()
    ids = torch.randint(VOCABULARY, (3, 7))
    model = subpath.convert(net, ids)
    losses = two_pass_step(model, ids, None, None)
    assert losses.task.item() == pytest.approx(sum(net(ids).values()).item(), rel=1e-9)
    assert losses.logits.item() == 0
    assert losses.features.item() > 0


def test_no_loss_at_all_is_refused():
    _, model, ids, _ = language()
    with pytest.raises(SubpathError, match="criterion=None and a model output of type dict"):
        two_pass_step(model, ids, None, None, outputs=Outputs({"logits": Classes(dim=-1)}))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pooling_over_kept_tokens_and_masks_of_another_shape():
    features = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]]])
    got = pooled(features, 2, torch.tensor([[True, True, False]]))
    assert got.tolist() == [[2.0, 3.0]]
    with pytest.raises(SubpathError, match=r"mask of shape \(1, 2\).*expected \(1, 3\)"):
        pooled(features, 2, torch.ones(1, 2))
    with pytest.raises(SubpathError, match=r"mask of shape \(2, 4\); expected \(2, 5\)"):
        Classes(-1)(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.ones(2, 4), 1.0)
