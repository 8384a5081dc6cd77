"""Two processes on a CPU (gloo) against one."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.nn import functional as F

import subpath
from loops import Fixed, by_hand, cosine, training_of
from small_networks import Doubter, Talker
from subpath.distill import two_pass_step
from subpath.errors import RecipeError
from subpath.finetune import check_recipe, evaluate, finetune
from subpath.finetune.callback import NoCallback
from subpath.finetune.engine import train_epoch
from subpath.finetune.loss_meter import LossMeter
from subpath.finetune.metrics import accuracies
from subpath.finetune.network import in_sync
from subpath.finetune.processes import start_processes
from subpath.finetune.sharding import shard
from two_processes import made, settings

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, images) -> Path:
    """What two processes wrote."""
    out = tmp_path_factory.mktemp("two")
    recipe = {
        "name": "two",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "resnet18", "arguments": {"channels": [8, 8, 8, 8]}},
        "data": {"name": "folder", "root": str(images), "input_size": [3, 32, 32]},
        "finetune": {"epochs": 2, "batch_size": 6},
        "save_every": 2,
    }
    (out / "texts").mkdir()
    for number in range(10):
        text = "".join(chr(97 + (number + i) % 26) for i in range(80 + number))
        (out / "texts" / f"{number}.txt").write_text(text)
    words = {
        "task": "language_modelling",
        "device": "cpu",
        "threads": 1,
        "model": {"name": "small_networks:Talker"},
        "data": {"name": "files", "root": str(out / "texts"), "validation_share": 0.3, "length": 8},
        "finetune": {"epochs": 1, "batch_size": 6},
    }
    doubter = {
        **words,
        "model": {"name": "small_networks:Doubter"},
        "finetune": {
            "epochs": 2,
            "batch_size": 4,
            "accumulate": 2,
            "optimiser": {"name": "adamw", "lr": 0.01},
            "clip": {"mode": "norm", "value": 0.05},
        },
    }
    recipes = {
        "run": recipe,
        "words": words,
        "whole": doubter,
        "shards": {**doubter, "shard": True},
        "resumed": {**doubter, "shard": True},
    }
    paths = []
    for name, content in recipes.items():
        paths.append(out / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(content))
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "two_processes.py"), str(out), *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def numbers(shared, key):
    return json.loads((shared / "numbers.json").read_text())[key]


def test_without_batch_statistics_two_processes_are_one_with_the_joined_batch(shared):
    """Weights after two steps; sums are taken in another order, so equal up to rounding."""
    name = "vit_tiny_patch16_224"
    model, data = made(name)
    before = copy.deepcopy(model.state_dict())
    phase, distill = settings(name)
    losses = train_epoch(
        training_of(model, phase, data, distill), 0, LossMeter(torch.device("cpu")), NoCallback()
    )
    got = load_file(shared / f"{name}.safetensors")
    for key, value in model.state_dict().items():
        moved = (value - before[key]).abs().max().item()
        torch.testing.assert_close(
            got[key], value, rtol=0, atol=1e-6 + 1e-3 * moved, msg=lambda m, n=key: f"{n}: {m}"
        )
    assert numbers(shared, "losses")[name] == pytest.approx(losses.loss, rel=1e-5)


def test_rows_of_different_numbers_are_brought_together(shared):
    assert numbers(shared, "rows") == [[0, 1], [2, 3], [4, 5], [12, 13], [14, 15]]


def test_with_batch_statistics_the_step_is_the_mean_of_both_halves(shared):
    """Each half normalised by itself; gradients averaged once; running statistics averaged."""
    model, data = made("resnet18")
    halves = (model.train(), copy.deepcopy(model).train())

    def gradients(m, x, y):
        for number, half in enumerate(halves):
            half.load_state_dict({k: v for k, v in m.state_dict().items() if "num_" in k}, False)
            half.zero_grad()
            part = slice(4 * number, 4 * number + 4)
            with torch.no_grad():
                for p, q in zip(half.parameters(), m.parameters(), strict=True):
                    p.copy_(q)
            two_pass_step(half, x[part], y[part], F.cross_entropy, base_task=1.0, weight=2.0)
        for p, *both in zip(*(n.parameters() for n in (m, *halves)), strict=True):
            p.grad = (both[0].grad + both[1].grad) / 2

    expected = copy.deepcopy(model)
    by_hand(expected, data, gradients, lambda step: cosine(step, 2))
    got = load_file(shared / "resnet18.safetensors")
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(
            got[name], parameter.detach(), rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    first, second = (half.state_dict() for half in halves)
    for key in first:
        if "running" in key:
            mean = (first[key] + second[key]) / 2
            torch.testing.assert_close(got[key], mean, rtol=1e-4, atol=1e-6)


def test_uneven_shares_count_every_image_once(shared):
    """Seven images: four on one process, three on the other."""
    model, data = made("resnet18")
    model.load_state_dict(load_file(shared / "resnet18.safetensors"))
    seven = Fixed([(x[:7], y[:7]) for x, y in data]).epoch(0)
    alone = accuracies(model, seven, start_processes("cpu"), model.skip_configs())
    assert numbers(shared, "top1") == alone


def test_a_run_of_two_processes_is_written_once(shared):
    run = shared / "run"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    summary = evaluate(run)  # by one process
    assert summary.to_dict() == json.loads((run / "summary.json").read_text())
    counted = load_file(next(run.glob("*.safetensors")))["layer1.0.bn1.num_batches_tracked"]
    assert counted == 2 * (36 // (2 * 6))
    assert subpath.load(run).plan.stages


def test_perplexity_counts_the_pieces_of_both_processes(shared):
    """Against an evaluation by one process."""
    run = shared / "words"
    written = json.loads((run / "summary.json").read_text())["skip"]
    for config in evaluate(run, model=Talker(256)).configs:
        expected = written[config.skip]["perplexity"]
        assert config.metrics["perplexity"] == pytest.approx(expected, rel=1e-5)


def test_synchronised_norms_share_weights_and_need_cuda():
    model, _ = made("resnet18")
    synced = in_sync(model, torch.device("cuda"))
    kinds = {type(m).__name__ for m in synced.modules() if hasattr(m, "running_mean")}
    assert kinds == {"SyncBatchNorm"}
    mine, theirs = model.state_dict(keep_vars=True), synced.state_dict(keep_vars=True)
    assert mine.keys() == theirs.keys()
    assert all(mine[key] is theirs[key] for key in mine)
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in model.modules())
    with pytest.raises(RecipeError, match="expected CUDA"):
        in_sync(model, torch.device("cpu"))


def weights_of(folder):
    return load_file(next(folder.glob("model-*.safetensors")))


def test_shared_out_weights_learn_what_whole_ones_learn(shared):
    """Clipped by the norm of all parts, accumulated, with a batch more on one of the processes."""
    expected, found = weights_of(shared / "whole"), weights_of(shared / "shards")
    assert found.keys() == expected.keys()
    fresh = subpath.convert(Doubter(256), torch.zeros(2, 8, dtype=torch.int64)).state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6, msg=name)
        assert not torch.equal(weight, fresh[name])
    known, told = (
        json.loads((shared / name / "summary.json").read_text())["skip"]
        for name in ("whole", "shards")
    )
    for skip, metrics in known.items():
        assert told[skip] == pytest.approx(metrics, rel=1e-4)


def test_a_run_with_shared_out_weights_goes_on_where_it_was_stopped(shared):
    expected, found = weights_of(shared / "shards"), weights_of(shared / "resumed")
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    lines = (shared / "resumed" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_what_cannot_be_shared_out_is_refused(tmp_path):
    recipe = {
        "task": "language_modelling",
        "device": "cpu",
        "model": {"name": "small_networks:Doubter"},
        "data": {"name": "docstrings"},
        "finetune": {"epochs": 1},
        "shard": True,
    }
    with pytest.raises(RecipeError, match="got shard: true and one process"):
        finetune(check_recipe(recipe), tmp_path / "run")
    with pytest.raises(RecipeError, match="expected with shard no train and no keep_best"):
        check_recipe({**recipe, "keep_best": True, "train": {"epochs": 1}})
    from_graph = subpath.convert(Talker(9), torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(RecipeError, match="expected one that runs in place"):
        shard(from_graph, start_processes("cpu"))
