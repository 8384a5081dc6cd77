"""transformers' own Trainer against the step done by hand."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

import subpath  # noqa: E402
from integrations.trainers import (  # noqa: E402
    language,
    pictures,
    sentences,
    sentiment,
    stepped,
    together,
    trainer,
    translator,
)
from integrations.two_trainers import MODELS, data  # noqa: E402
from subpath.distill import Classes, Outputs, Values  # noqa: E402
from subpath.errors import SkipConfigError, SubpathError  # noqa: E402
from subpath.integrations.transformers import TwoPassSettings, TwoPassTrainer  # noqa: E402

pytestmark = [pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]

TOKENS = Outputs({"logits": Classes(dim=-1)})


def same(found, expected, **tolerance) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, msg=name, **tolerance)


def moved(model, before) -> None:
    """A step that changes nothing would prove nothing."""
    after = model.state_dict()
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


def test_a_step_of_a_language_model_is_the_step_by_hand(tmp_path) -> None:
    model, items = language(), sentences([10, 4, 7, 2])
    batch, by_hand = together(items), copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    mask = batch["attention_mask"].bool()
    expected = stepped(by_hand, batch, outputs=TOKENS, mask=mask, feature_mask=mask)
    trainer(model, items, tmp_path).train()
    moved(model, before)
    same(model.state_dict(), expected)


def test_accumulated_batches_are_one_large_batch(tmp_path) -> None:
    """Unlike sentences, so that a mean over batches is no mean over words."""
    items = sentences([10, 9, 3, 2])
    model, other = language(), language()
    trainer(model, items, tmp_path, batch=2, gradient_accumulation_steps=2).train()
    trainer(other, items, tmp_path, batch=4).train()
    same(model.state_dict(), other.state_dict())


def test_all_weights_of_the_step_are_passed_on(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    model, batch = language(), together(items)
    mask = batch["attention_mask"].bool()
    given = {
        "alpha": 0.3,
        "temperature": 2.0,
        "logits": 0.7,
        "features": 0.2,
        "stages": [1],
        "base_task": 0.5,
        "further": ["TF"],
        "weight": 2.0,
    }
    expected = stepped(
        copy.deepcopy(model), batch, outputs=TOKENS, mask=mask, feature_mask=mask, **given
    )
    trainer(model, items, tmp_path, two_pass=TwoPassSettings(**given)).train()
    same(model.state_dict(), expected)


def test_a_classifier_pools_its_features_over_words_alone(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    items = [{**item, "labels": torch.tensor(n % 3)} for n, item in enumerate(items)]
    model, batch = sentiment(), together(items)
    expected = stepped(copy.deepcopy(model), batch, feature_mask=batch["attention_mask"].bool())
    trainer(model, items, tmp_path).train()
    same(model.state_dict(), expected)
    halves = sentiment()
    trainer(halves, items, tmp_path, batch=2, gradient_accumulation_steps=2).train()
    same(halves.state_dict(), expected)


def test_an_encoder_decoder_has_a_mask_for_each_half(tmp_path) -> None:
    """Encoder alone and decoder alone, by hand, give the two halves of the features' loss."""
    items = sentences([10, 4, 7, 2])
    answers = sentences([3, 8, 5, 6], seed=2)
    items = [{**q, "labels": a["labels"]} for q, a in zip(items, answers, strict=True)]
    model, batch = translator(), together(items)
    assert [stage.name for stage in model.stages] == ["encoder.block", "decoder.block"]
    read, said = batch["attention_mask"].bool(), batch["labels"] != -100
    by_hand = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    by_hand_step = subpath.distill.two_pass_step
    off = {"alpha": 0.0, "outputs": Outputs({}), "logits": 0}
    by_hand_step(by_hand, batch, None, None, features=0, outputs=TOKENS, mask=said)
    for number, mask in enumerate((read, said)):
        by_hand_step(
            by_hand, batch, None, None, stages=[number], feature_mask=mask, weight=0.5, **off
        )
    optimiser.step()
    trainer(model, items, tmp_path).train()
    same(model.state_dict(), by_hand.state_dict())


def test_label_smoothing_and_an_own_loss_are_the_super_nets(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    batch = together(items)
    smoother = transformers.trainer_pt_utils.LabelSmoother(epsilon=0.2)
    mask = batch["attention_mask"].bool()

    def smooth(output, labels):
        return smoother({"logits": output["logits"]}, labels, shift_labels=True)

    model = language()
    by_hand = copy.deepcopy(model).train()
    unlabelled = {name: x for name, x in batch.items() if name != "labels"}
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    subpath.distill.two_pass_step(
        by_hand, unlabelled, batch["labels"], smooth, outputs=TOKENS, mask=mask, feature_mask=mask
    )
    optimiser.step()
    trainer(model, items, tmp_path, label_smoothing_factor=0.2).train()
    same(model.state_dict(), by_hand.state_dict())


def test_checkpointed_activations_give_the_same_step(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    model, other = language(), language()
    trainer(model, items, tmp_path, gradient_checkpointing=True).train()
    trainer(other, items, tmp_path).train()
    same(model.state_dict(), other.state_dict())


def test_half_precision_is_the_step_under_autocast(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    model, batch = language(), together(items)
    mask = batch["attention_mask"].bool()
    by_hand = copy.deepcopy(model)
    inside = by_hand.forward_features_of_stages

    class Halved:
        stages = by_hand.stages
        original_frozen = False

        @staticmethod
        def forward_features_of_stages(**inputs):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output, features = inside(**inputs)
            return {name: output[name].float() for name in ("loss", "logits")}, features

        def sharing(self):
            return nullcontext(self.forward_features_of_stages)

    optimiser = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    by_hand.train()
    subpath.distill.two_pass_step(
        Halved(), batch, None, None, outputs=TOKENS, mask=mask, feature_mask=mask
    )
    optimiser.step()
    before = copy.deepcopy(model.state_dict())
    trainer(model, items, tmp_path, bf16=True).train()
    moved(model, before)
    same(model.state_dict(), by_hand.state_dict(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("weight", "times"), [(0.0, 1), (0.5, 2)])
def test_the_loss_of_the_base_net_is_computed_where_it_is_wanted(
    tmp_path, monkeypatch, weight, times
) -> None:
    items = sentences([10, 4, 7, 2])
    counted = []
    model = language()
    loss = model.loss_function

    def counting(*args, **kwargs):
        counted.append(1)
        return loss(*args, **kwargs)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "loss_function", staticmethod(counting))
    settings = TwoPassSettings(base_task=weight)
    trainer(model, items, tmp_path, two_pass=settings).train()
    assert len(counted) == times


def test_metrics_are_named_by_config(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    items = [{**item, "labels": torch.tensor(n % 3)} for n, item in enumerate(items)]
    model, batch = sentiment(), together(items)
    torch.nn.init.normal_(model.get_submodule("classifier").weight)

    def right(told):
        return {"right": float((told.predictions.argmax(-1) == told.label_ids).mean())}

    found = trainer(
        model, items, tmp_path, compute_metrics=right, eval_skips=("TF", "TT")
    ).evaluate()
    model.eval()
    for skip, prefix in (("FF", "eval"), ("TF", "eval_TF"), ("TT", "eval_TT")):
        with torch.no_grad():
            output = model(**batch, skip=skip)
        assert found[f"{prefix}_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
        expected = (output.logits.argmax(-1) == batch["labels"]).float().mean().item()
        assert found[f"{prefix}_right"] == pytest.approx(expected)
    assert found["eval_loss"] != found["eval_TT_loss"]
    assert model.skip == "FF"


def test_evaluation_of_several_sets_and_prediction(tmp_path) -> None:
    items = sentences([10, 4, 7, 2])
    model = language()
    made = trainer(model, items, tmp_path)
    found = made.evaluate({"long": items[:1], "short": items[1:]})
    assert {"eval_long_loss", "eval_long_TT_loss", "eval_short_TT_loss"} <= found.keys()
    with model.using("TT"):
        told = made.predict(items)
    assert told.metrics["test_loss"] == pytest.approx(made.evaluate()["eval_TT_loss"])
    assert not any("TT" in name for name in told.metrics)


def test_the_parts_of_the_loss_are_logged(tmp_path) -> None:
    items = sentences([10, 9, 3, 2])
    made = trainer(language(), items, tmp_path, batch=2, gradient_accumulation_steps=2)
    made.train()
    told = next(entry for entry in made.state.log_history if "loss" in entry)
    by_hand, batch = language().train(), together(items)
    mask = batch["attention_mask"].bool()
    losses = subpath.distill.two_pass_step(
        by_hand, batch, None, None, outputs=TOKENS, mask=mask, feature_mask=mask
    )
    assert told["loss"] == pytest.approx(losses.total.item(), rel=1e-4)
    for name in ("task", "logits", "features", "base_task"):
        expected = getattr(losses, name).item()
        assert told[f"{name}_loss"] == pytest.approx(expected, rel=1e-4), name


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path) -> None:
    items = sentences([10, 4, 7, 2] * 2)
    whole, first, second = language(), language(), language()
    settings = {"save_strategy": "steps", "save_steps": 2}
    trainer(whole, items, tmp_path / "whole", max_steps=4).train()
    trainer(first, items, tmp_path / "part", max_steps=2, **settings).train()
    again = trainer(second, items, tmp_path / "part", max_steps=4, **settings)
    again.train(resume_from_checkpoint=True)
    same(second.state_dict(), whole.state_dict())


def test_a_network_with_batch_norms_learns_and_is_saved(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    items = [
        {"pixel_values": torch.randn(3, 32, 32, generator=generator), "labels": torch.tensor(n % 3)}
        for n in range(4)
    ]
    model, batch = pictures(), together(items)
    expected = stepped(copy.deepcopy(model), batch)
    trainer(model, items, tmp_path).train()
    same(model.state_dict(), expected)
    subpath.save(model, tmp_path / "saved")
    again = subpath.load(tmp_path / "saved", model=pictures().subnet("FFFF", copy_weights=True))
    with torch.no_grad():
        x = batch["pixel_values"]
        one, other = (m.eval()(x, skip="TTTT").logits for m in (model, again))
    assert torch.equal(one, other)


def test_other_trainers_take_the_step_too(tmp_path) -> None:
    class Both(TwoPassTrainer, transformers.Seq2SeqTrainer):
        pass

    items = sentences([10, 4, 7, 2])
    model, batch = translator(), together(items)
    arguments = transformers.Seq2SeqTrainingArguments(
        str(tmp_path),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        max_steps=1,
        predict_with_generate=True,
    )
    made = Both(
        model,
        arguments,
        train_dataset=items,
        eval_dataset=items,
        compute_metrics=lambda told: {"words": told.predictions[told.predictions > 0].sum()},
    )
    before = copy.deepcopy(model.state_dict())
    made.train()
    moved(model, before)
    found = made.evaluate(max_new_tokens=5)
    asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for skip, prefix in (("FF", "eval"), ("TT", "eval_TT")):
        with model.using(skip):
            said = model.generate(**asked, max_new_tokens=5)
        assert found[f"{prefix}_words"] == said.sum()


def test_two_processes_take_the_step_of_one(tmp_path) -> None:
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, str(tests / "integrations" / "two_trainers.py"), str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for name, make in MODELS.items():
        model = make()
        alone = trainer(
            model, data(name), tmp_path / "alone", batch=8, per_device_eval_batch_size=2
        )
        alone.train()
        same(load_file(tmp_path / f"{name}.safetensors"), dict(model.state_dict()))
        expected = alone.evaluate()
        for key in ("eval_loss", "eval_TT_loss"):
            assert metrics[name][key] == pytest.approx(expected[key], rel=1e-5)


def test_what_cannot_be_trained_so_is_refused(tmp_path) -> None:
    items = sentences([3, 4])
    with pytest.raises(SubpathError, match="that was not converted"):
        trainer(transformers.LlamaForCausalLM(language().config), items, tmp_path)
    with pytest.raises(SkipConfigError, match="TTT"):
        trainer(language(), items, tmp_path, eval_skips=("TTT",))
    with pytest.raises(SubpathError, match="torch_compile"):
        trainer(language(), items, tmp_path, torch_compile=True)
    many = sentiment(problem_type="multi_label_classification")
    with pytest.raises(SubpathError, match="no distribution over classes"):
        trainer(many, items, tmp_path)
    told = TwoPassSettings(outputs=Outputs({"logits": Values()}))
    items = [{**item, "labels": torch.tensor([1.0, 0.0, 1.0])} for item in items]
    trainer(many, items, tmp_path, batch=2, two_pass=told).train()
