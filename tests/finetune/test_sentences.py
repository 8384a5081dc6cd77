"""Text classification: texts from everywhere, padding that counts nowhere, F1 by hand."""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import subpath
from small_networks import Reader
from subpath.distill import logits_loss
from subpath.errors import DataError, RecipeError
from subpath.finetune import check_recipe, evaluate, finetune
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.engine import distillation_learner
from subpath.finetune.loader import Place
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection
from subpath.finetune.tasks import labelled
from subpath.finetune.tasks.labelled import PACKAGES, LabelledTextSection, functions, open_texts
from subpath.finetune.tasks.sentences import TextClassification
from subpath.finetune.tasks.tokens import own_arguments, words_of
from subpath.finetune.weight_updates import make_updater

WORDS = {"fruit": "apple pear plum", "tools": "saw nail file", "birds": "wren rook tit"}
COMMON = ["the", "a", "of", "in", "on", "and"]


@pytest.fixture
def texts(tmp_path):
    """Twenty files of each class, of different lengths, that share most of their words."""
    random = np.random.default_rng(0)
    for name, own in WORDS.items():
        (tmp_path / "texts" / name).mkdir(parents=True)
        for number in range(20):
            words = random.choice(COMMON, random.integers(2, 12)).tolist()
            words.insert(int(random.integers(len(words))), str(random.choice(own.split())))
            (tmp_path / "texts" / name / f"{number}.txt").write_text(" ".join(words))
    return tmp_path / "texts"


@pytest.fixture
def recipe(texts) -> dict:
    return {
        "task": "text_classification",
        "name": "kinds",
        "device": "cpu",
        "model": {"name": "small_networks:Reader"},
        "data": {"name": "folder", "root": str(texts), "validation_share": 0.3, "length": 10},
        "finetune": {
            "epochs": 8,
            "batch_size": 7,
            "optimiser": {"name": "adamw", "lr": 0.02},
        },
    }


def batch_by_hand(texts, files, vocabulary, length=10):
    """Words to their places in the vocabulary; 0 fills up, 1 is a word that is not there."""
    rows = [f.read_text().split()[:length] for f in files]
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words)] = torch.tensor([vocabulary.get(word, 1) for word in words])
    names = sorted(WORDS)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.tensor(
        [names.index(f.parent.name) for f in files]
    )


def parts_by_hand(texts):
    """Six files of each class are held back; the words of the others are known."""
    random, kept, held_back = np.random.default_rng(0), [], []
    for name in sorted(WORDS):
        files = sorted((texts / name).iterdir())
        chosen = set(random.permutation(20)[:6].tolist())
        for number, file in enumerate(files):
            (held_back if number in chosen else kept).append(file)
    counts = Counter(word for file in kept for word in file.read_text().split())
    order = sorted(counts, key=lambda word: (-counts[word], word))
    return kept, held_back, {word: number for number, word in enumerate(order, 3)}


def scores(model, inputs, targets, **how):
    with torch.no_grad():
        told = model.eval()(**inputs, **how)["logits"].argmax(1)
    f1 = []
    for label in range(3):
        right = ((told == label) & (targets == label)).sum().item()
        wrong = ((told == label) ^ (targets == label)).sum().item()
        f1.append(2 * right / (2 * right + wrong) if right + wrong else 0.0)
    return {"top1": 100 * (told == targets).double().mean().item(), "f1": 100 * sum(f1) / 3}


def test_a_run_tells_accuracy_and_f1_of_every_config(recipe, texts, tmp_path):
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    _, held_back, vocabulary = parts_by_hand(texts)
    inputs, targets = batch_by_hand(texts, held_back, vocabulary)

    def fresh():
        return Reader(len(vocabulary) + 3, 3, 0)

    example = {name: tensor[:2] for name, tensor in inputs.items()}
    model = subpath.load(tmp_path / "run", model=fresh(), example_input=example)
    for config in summary.configs:
        assert config.metrics == pytest.approx(scores(model, inputs, targets, skip=config.skip))
    assert summary.configs[0].metrics["top1"] > 60  # guessing gives 33
    assert evaluate(tmp_path / "run", ["TT"], model=fresh()).configs == summary.configs[-1:]


def test_the_step_by_hand_sees_no_padding(recipe, texts):
    made = check_recipe(recipe)
    task = TextClassification.open(made)
    inputs, targets = next(iter(task.validation_batches(18, Place())))
    _, held_back, vocabulary = parts_by_hand(texts)
    expected_inputs, expected_targets = batch_by_hand(texts, held_back, vocabulary)
    assert inputs.keys() == expected_inputs.keys()
    assert all(torch.equal(inputs[name], expected_inputs[name]) for name in inputs)
    assert torch.equal(targets, expected_targets)
    lengths = inputs["attention_mask"].sum(1)
    assert len(set(lengths.tolist())) > 2

    torch.manual_seed(0)
    model = subpath.convert(Reader(len(vocabulary) + 3, 3, 0), task.example(2)).train()
    by_hand = copy.deepcopy(model)
    processes = start_processes("cpu")
    updates = make_updater(model, made.finetune, 1, processes)
    student = ConfigRunner(model, processes, read=task.read)
    section, criterion = DistillSection(weight=1.0), task.criterion(made.finetune)
    learn = distillation_learner(
        student, updates, criterion, section, outputs=task.outputs, padding=task.padding
    )
    losses = learn(inputs, targets, 1.0, 0)

    def run(skip):
        output, stages = by_hand.forward_features_of_stages(**inputs, skip=skip)
        means = [
            torch.stack([row[:n].mean(0) for row, n in zip(stage, lengths, strict=True)])
            for stage in stages
        ]
        return output["logits"], means

    logits, stages = run("FF")
    loss = F.cross_entropy(logits, targets)
    (0.5 * loss).backward()
    own, own_stages = run("TT")
    learned = logits_loss(own, logits) + F.cross_entropy(own, targets)
    for h_base, h_super in zip(own_stages, stages, strict=True):
        learned = learned + logits_loss(h_base, h_super)
    (0.5 * learned).backward()
    torch.testing.assert_close(losses["loss"], (0.5 * (loss + learned)).detach())
    assert losses["features"] > 1e-4
    for (name, weight), other in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, msg=name)

    longer = {name: F.pad(tensor, (0, 5)) for name, tensor in inputs.items()}
    again = learn(longer, targets, 1.0, 0)
    torch.testing.assert_close(again["features"], losses["features"])


def test_patches_are_fitted_to_words_alone(recipe, tmp_path):
    recipe["fit"] = {"images": 14, "batch_size": 7, "max_cost": 0.5}
    recipe["finetune"]["epochs"] = 1
    finetune(check_recipe(recipe), tmp_path / "run")


def test_words_are_numbered_by_frequency():
    tokens = words_of(["b b, a", "a b"], size=6, length=5)
    assert tokens.vocabulary == 6  # padding, unknown, between; b, a and a comma
    assert tokens.encode("b a , c", None) == {"input_ids": [3, 4, 5, 1]}
    assert tokens.encode("b", "a a a a") == {"input_ids": [3, 2, 4, 4, 4]}
    assert words_of(["b b, a"], size=4, length=5).vocabulary == 4


def test_what_is_loaded_with_its_weights_knows_its_tokens():
    told = {"vocab_size": 7}
    assert own_arguments("transformers:BertForSequenceClassification", told) == told
    name = "transformers:AutoModelForSequenceClassification.from_pretrained"
    assert own_arguments(name, told) == {}


def test_functions_of_python_are_found_without_being_told_where(monkeypatch):
    found = list(functions())
    monkeypatch.setattr(labelled, "functions", lambda: found[::4])
    counts = Counter(one.label for one in found)
    assert set(counts) == set(PACKAGES)
    assert min(counts.values()) > 50
    assert all("def " in one.text for one in found)
    train, held_back, classes, tokens = open_texts(LabelledTextSection(), seed=0)
    assert list(classes) == sorted(PACKAGES)
    assert tokens.vocabulary == 4000
    assert len(train) + len(held_back) == len(found[::4])
    assert 0.1 < len(held_back) / len(found[::4]) < 0.4


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_tables_name_their_columns(kind, tmp_path):
    rows = [{"first": f"x, {n}", "second": "y\ny", "kind": n % 2} for n in range(10)]
    path = tmp_path / f"train.{kind}"
    if kind == "csv":
        lines = [f'"{row["first"]}","{row["second"]}",{row["kind"]}' for row in rows]
        path.write_text("\n".join(["first,second,kind", *lines]))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    columns = {"text": "first", "pair": "second", "label": "kind"}
    section = LabelledTextSection(name="table", root=str(tmp_path), train=path.name, **columns)
    train, held_back, classes, tokens = open_texts(section, seed=0)
    assert (len(train), len(held_back)) == (8, 2)
    assert list(classes) == (["0", "1"] if kind == "csv" else [0, 1])
    between, *ids = tokens.encode("", "y y")["input_ids"]
    assert between == 2
    for part in (train, held_back):
        for inputs, _ in part:
            assert inputs["input_ids"].tolist()[-3:] == [between, *ids]
    whole = section.model_copy(update={"validation_file": path.name})
    assert [len(part) for part in open_texts(whole, seed=0)[:2]] == [10, 10]
    with pytest.raises(DataError, match=rf"got no last in .*train\.{kind}:1, which has first"):
        open_texts(section.model_copy(update={"pair": "last"}), seed=0)


def test_a_data_set_of_the_hub_is_asked_for_by_name(monkeypatch):
    section = LabelledTextSection(name="hub", train="glue", subset="sst2", text="sentence")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="expected pip install datasets"):
        open_texts(section, seed=0)

    def offline(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=offline))
    with pytest.raises(DataError, match=r"'train' of glue sst2, .*ConnectionError: no route"):
        open_texts(section, seed=0)

    def load(name, subset, split):
        assert (name, subset) == ("glue", "sst2")
        return [{"sentence": f"{split} {n}", "label": n % 2, "idx": n} for n in range(4)]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    train, held_back, classes, _ = open_texts(section, seed=0)
    assert (len(train), len(held_back), list(classes)) == (4, 4, [0, 1])


def test_what_is_wrong_with_texts_is_told(recipe, texts):
    def opened(**data):
        return TextClassification.open(check_recipe({**recipe, "data": {**recipe["data"], **data}}))

    with pytest.raises(DataError, match="got 0 texts to learn from"):
        opened(pattern="*.md")
    with pytest.raises(DataError, match="got texts of one class, 'texts'"):
        opened(root=str(texts.parent), pattern="*/*.txt")
    with pytest.raises(RecipeError, match="expected a root with the names folder and table"):
        opened(name="functions")
    with pytest.raises(RecipeError, match="expected train with the names table and hub"):
        opened(name="table")
    with pytest.raises(DataError, match=r"expected logits of shape \(batch, classes\)"):
        opened().read({"logits": torch.zeros(2, 3, 4)})
    table = {"name": "table", "train": "a.jsonl", "validation_file": "b.jsonl"}
    (texts / "a.jsonl").write_text('{"text": "x", "label": 0}\n{"text": "y", "label": 1}')
    (texts / "b.jsonl").write_text('{"text": "x", "label": 2}')
    with pytest.raises(DataError, match="got the labels 2 in what is held back"):
        opened(**table)
    (texts / "b.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"expected \.csv with names in its first line"):
        opened(**table)
    (texts / "b.jsonl").unlink()
    with pytest.raises(DataError, match="expected UTF-8"):
        opened(**table)


@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_learns_from_a_recipe(recipe, tmp_path):
    transformers = pytest.importorskip("transformers")
    arguments = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
    }
    recipe["model"] = {"name": "transformers:BertForSequenceClassification", "arguments": arguments}
    recipe["finetune"]["epochs"] = 1
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    _, held_back, vocabulary = parts_by_hand(tmp_path / "texts")
    inputs, targets = batch_by_hand(tmp_path / "texts", held_back, vocabulary)
    sizes = {"vocab_size": len(vocabulary) + 3, "num_labels": 3, "pad_token_id": 0}
    config = transformers.BertConfig(**arguments, **sizes)
    model = subpath.load(tmp_path / "run", model=transformers.BertForSequenceClassification(config))
    for found in summary.configs:
        assert found.metrics == pytest.approx(scores(model, inputs, targets, skip=found.skip))


@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")
def test_a_pretrained_model_brings_its_tokenizer(recipe, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(WORDS.values()).split()]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=32,  # more than there are words, as many published models have
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    recipe["model"] = {
        "name": "transformers:AutoModelForSequenceClassification.from_pretrained",
        "arguments": {"pretrained_model_name_or_path": str(tmp_path / "bert")},
    }
    recipe["data"]["tokenizer"] = str(tmp_path / "bert")
    recipe["finetune"]["epochs"] = 1
    task = TextClassification.open(check_recipe(recipe))
    (inputs, _) = next(iter(task.validation_batches(3, Place())))
    assert set(inputs) == {"input_ids", "token_type_ids", "attention_mask"}
    summary = finetune(check_recipe(recipe), tmp_path / "run")
    assert summary.configs[0].metrics["top1"] >= 0
