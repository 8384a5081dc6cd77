"""Language modelling: text cut into pieces, the two passes at each token, perplexity by hand."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import subpath
from small_networks import Talker
from subpath.distill import Classes, Outputs, two_pass_step
from subpath.errors import DataError, RecipeError
from subpath.finetune import check_recipe, evaluate, finetune
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.engine import distillation_learner
from subpath.finetune.loader import Place
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection
from subpath.finetune.seeds import set_seeds
from subpath.finetune.tasks.language import LanguageModelling
from subpath.finetune.tasks.text import TextSection, docstrings, open_text
from subpath.finetune.weight_updates import make_updater

LENGTH = 8
EXAMPLE = torch.zeros(2, LENGTH, dtype=torch.int64)


@pytest.fixture
def texts(tmp_path):
    """Ten files, each the alphabet again and again, from a letter of its own."""
    root = tmp_path / "texts"
    root.mkdir()
    for number in range(10):
        (root / f"{number}.txt").write_text("".join(chr(97 + (number + i) % 26) for i in range(80)))
    return root


@pytest.fixture
def recipe(texts) -> dict:
    return {
        "task": "language_modelling",
        "name": "words",
        "device": "cpu",
        "model": {"name": "small_networks:Talker"},
        "data": {"name": "files", "root": str(texts), "validation_share": 0.2, "length": LENGTH},
        "finetune": {
            "epochs": 4,
            "batch_size": 10,
            "optimiser": {"name": "adamw", "lr": 0.01},
            "schedule": {"name": "constant"},
        },
    }


def perplexity(model, ids, **how):
    with torch.no_grad():
        logits = model.eval()(ids, **how)["logits"]
    nats = [
        -logits[b, n].log_softmax(-1)[ids[b, n + 1]] for b, n in np.ndindex(len(ids), LENGTH - 1)
    ]
    return math.exp(torch.stack(nats).mean())


def log(folder):
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def pieces_by_hand(texts, validation):
    """The files of a part, in order of name, cut into eights."""
    order = np.random.default_rng(0).permutation(10)
    files = sorted(order[:2]) if validation else sorted(order[2:])
    text = "\n".join((texts / f"{n}.txt").read_text() for n in files).encode()
    return torch.tensor(list(text[: len(text) // LENGTH * LENGTH])).view(-1, LENGTH)


def test_a_run_tells_the_perplexity_of_every_config(recipe, texts, tmp_path):
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    model = subpath.load(tmp_path / "run", model=Talker(256), example_input=EXAMPLE)
    validation = pieces_by_hand(texts, validation=True)
    assert [config.skip for config in summary.configs] == [str(s) for s in model.skip_configs()]
    for config in summary.configs:
        expected = perplexity(model, validation, skip=config.skip)
        assert config.metrics["perplexity"] == pytest.approx(expected, rel=1e-5)
        assert config.top1 is None
    written = json.loads((tmp_path / "run" / "summary.json").read_text())["skip"]
    assert set(written["FF"]) == {"perplexity", "gmacs"}
    lines = log(tmp_path)
    assert lines[-1]["perplexity"] == {s: written[s]["perplexity"] for s in ("FF", "TT")}
    assert lines[-1]["perplexity"]["TT"] < lines[0]["perplexity"]["TT"] < 256
    assert evaluate(tmp_path / "run", ["TT"], model=Talker(256)).configs == summary.configs[-1:]


def test_an_update_is_the_step_by_hand(recipe, texts, tmp_path):
    pieces = pieces_by_hand(texts, validation=False)
    plain = {"name": "momentum", "momentum": 0.0, "lr": 0.1}
    recipe["finetune"] |= {"epochs": 1, "batch_size": len(pieces), "optimiser": plain}
    recipe["distill"] = {"alpha": 0.25, "temperature": 2.0}
    finetune(check_recipe(recipe), tmp_path / "run")
    set_seeds(0)
    by_hand = subpath.convert(Talker(256), pieces[:2]).train()

    def loss(output, ids):
        return F.cross_entropy(output["logits"][:, :-1].transpose(1, 2), ids[:, 1:])

    two_pass_step(
        by_hand,
        pieces,
        pieces,
        loss,
        alpha=0.25,
        temperature=2.0,
        base_task=1.0,
        outputs=Outputs({"logits": Classes(dim=-1)}),
        weight=4.0,
    )
    before = copy.deepcopy(by_hand.state_dict())
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    loaded = subpath.load(tmp_path / "run", model=Talker(256), example_input=EXAMPLE)
    found = loaded.state_dict()
    for name, weight in by_hand.state_dict().items():
        torch.testing.assert_close(found[name], weight, msg=name)
    assert any(not torch.equal(found[name], weight) for name, weight in before.items())


def test_the_best_epoch_is_that_of_the_lowest_perplexity(recipe, tmp_path):
    finetune(check_recipe({**recipe, "keep_best": True}), tmp_path / "run")
    lines = log(tmp_path)
    means = [sum(line["perplexity"].values()) / 2 for line in lines]
    best = subpath.load(tmp_path / "run" / "best", model=Talker(256), example_input=EXAMPLE)
    validation = pieces_by_hand(tmp_path / "texts", validation=True)
    found = [perplexity(best, validation, skip=skip) for skip in ("FF", "TT")]
    assert sum(found) / 2 == pytest.approx(min(means), rel=1e-4)
    assert max(means) > 2 * min(means)


def test_the_original_is_trained_first(recipe, tmp_path):
    recipe["train"] = {**recipe["finetune"], "epochs": 1}
    finetune(check_recipe(recipe), tmp_path / "run")
    first = log(tmp_path)[0]
    assert set(first["perplexity"]) == {"original"}


def test_python_s_docstrings_are_found_without_being_told_where():
    found = list(docstrings())
    assert len(found) > 300
    assert any(text.startswith("textwrap:\nText wrapping and filling.") for text in found)
    train, validation, tokens = open_text(TextSection(), seed=0)
    assert tokens == 256
    assert len(train) > 5 * len(validation) > 100
    ids, targets = train[3]
    assert ids.shape == (128,)
    assert torch.equal(ids, targets)


def test_what_is_wrong_with_text_is_told(recipe, texts, tmp_path):
    def run(**data):
        finetune(check_recipe({**recipe, "data": {**recipe["data"], **data}}), tmp_path / "run")

    with pytest.raises(DataError, match=r"got 1 files that match '0\*'"):
        run(pattern="0*")
    with pytest.raises(DataError, match="with less than 4000 tokens"):
        run(length=4000)
    (texts / "00.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="cannot be read"):
        run()
    with pytest.raises(RecipeError, match="expected a root with the name files"):
        check_recipe({**recipe, "data": {"name": "files"}})
    with pytest.raises(RecipeError, match="lenght: unknown key; did you mean length"):
        check_recipe({**recipe, "data": {"lenght": 3}})
    with pytest.raises(RecipeError, match="task: got 'poetry'; expected one of"):
        check_recipe({**recipe, "task": "poetry"})
    mixed = {**recipe["finetune"], "mixup": {"mixup": 0.2}}
    (texts / "00.txt").unlink()
    with pytest.raises(RecipeError, match="mixup"):
        finetune(check_recipe({**recipe, "finetune": mixed}), tmp_path / "run")


def test_an_output_without_logits_is_refused(recipe):
    task = LanguageModelling.open(check_recipe(recipe))
    with pytest.raises(DataError, match="expected logits of shape"):
        task.read({"words": torch.zeros(2, 3, 4)})
    with pytest.raises(DataError, match="expected logits of shape"):
        task.read(torch.zeros(2, 3))


LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.libraries
def test_layers_that_are_computed_again_give_the_gradients_of_those_that_are_kept(recipe, texts):
    transformers = pytest.importorskip("transformers")
    task = LanguageModelling.open(check_recipe(recipe))
    ids, _ = next(iter(task.validation_batches(4, Place())))
    processes = start_processes("cpu")
    found, kept = {}, {}
    for recompute in (False, True):
        torch.manual_seed(0)
        network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, vocab_size=256))
        model = subpath.convert(network, ids).train()
        updates = make_updater(model, check_recipe(recipe).finetune, 1, processes)
        student = ConfigRunner(model, processes, recompute=recompute, read=task.read)
        criterion = task.criterion(check_recipe(recipe).finetune)
        learn = distillation_learner(
            student, updates, criterion, DistillSection(), outputs=task.outputs
        )
        sizes = []

        def keep(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            learn(ids, ids, 1.0, 0)
        found[recompute] = {name: p.grad for name, p in model.named_parameters()}
        kept[recompute] = sum(sizes)
    for name, gradient in found[False].items():
        torch.testing.assert_close(found[True][name], gradient, msg=name)
        assert gradient.abs().sum() > 0
    assert kept[True] < kept[False] / 2


@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")
def test_recompute_and_half_precision_are_keys_of_the_recipe(recipe, tmp_path):
    recipe["model"] = {"name": "transformers:LlamaForCausalLM", "arguments": LLAMA}
    recipe["finetune"]["epochs"] = 1
    found = {}
    for name, keys in {
        "plain": {},
        "recompute": {"recompute": True},
        "half": {"precision": "bf16"},
        "both": {"recompute": True, "precision": "bf16"},
    }.items():
        finetune(check_recipe({**recipe, **keys}), tmp_path / name)
        found[name] = load_file(next((tmp_path / name).glob("model-*.safetensors")))
    for key, weight in found["plain"].items():
        torch.testing.assert_close(found["recompute"][key], weight, msg=key)
        torch.testing.assert_close(found["both"][key], found["half"][key], msg=key)
        assert found["half"][key].dtype == torch.float32
    assert any(
        not torch.equal(found["half"][key], weight) for key, weight in found["plain"].items()
    )


@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_learns_from_a_recipe(recipe, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    recipe["model"] = {"name": "transformers:LlamaForCausalLM", "arguments": LLAMA}
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    config = transformers.LlamaConfig(vocab_size=256, **LLAMA)
    model = subpath.load(tmp_path / "run", model=transformers.LlamaForCausalLM(config))
    validation = pieces_by_hand(texts, validation=True)
    for found in summary.configs:
        expected = perplexity(model, validation, skip=found.skip)
        assert found.metrics["perplexity"] == pytest.approx(expected, rel=1e-4)
