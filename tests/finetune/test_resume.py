"""A run that is killed and resumed ends with the bits of one that was left alone."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import subpath
from subpath import checkpoint, zoo
from subpath.errors import CheckpointError, RunError, SubpathError
from subpath.finetune import check_recipe, finetune, resume, training
from subpath.finetune.resume import flatten, read_checkpoint, restore, write_checkpoint

TESTS = Path(__file__).parents[1]


@pytest.fixture
def everything(recipe) -> dict:
    """A recipe with all that has a state or draws numbers."""
    recipe["model"]["arguments"] |= {"drop_path_rate": 0.2}
    recipe["data"]["augment"] = {"auto_augment": "rand-m5-mstd0.5", "erase": 0.5}
    recipe["data"]["workers"] = 2
    phase = {
        "batch_size": 4,
        "accumulate": 2,
        "optimiser": {"name": "adamw", "lr": 0.01, "weight_decay": 0.05},
        "schedule": {"warmup_epochs": 1},
        "clip": {"mode": "norm", "value": 1.0},
        "ema": {"decay": 0.9},
        "mixup": {"mixup": 0.4, "cutmix": 1.0},
    }
    recipe |= {"threads": 1, "save_every": 2, "channels_last": True}
    recipe["train"] = {"epochs": 2, **phase}
    recipe["finetune"] = {"epochs": 3, **phase}
    recipe["distill"] = {"random_pass": True}
    return recipe


def test_killed_at_any_moment_and_resumed_to_the_same_bits(everything, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(everything))
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(TESTS / "interrupted.py"), "recipe.yaml", "."]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    ended = [line.split() for line in done.stdout.splitlines()]
    assert [status for name, status in ended if name in ("killed", "whole")] == ["0", "0"], (
        done.stdout + done.stderr
    )
    assert [int(status) for _, status in ended[:8]] == [-signal.SIGKILL] * 8
    states = {}
    for name in ("killed", "whole"):
        run = tmp_path / name
        (weights,) = run.glob("*.safetensors")
        states[name] = weights.read_bytes()
        assert not (run / "resume").exists()
    assert states["killed"] == states["whole"]
    logs = {
        name: [
            {k: v for k, v in json.loads(line).items() if "seconds" not in k and "second" not in k}
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
        ]
        for name in ("killed", "whole")
    }
    assert logs["killed"] == logs["whole"]
    assert len(logs["whole"]) == 5


def test_resume_begins_a_run_and_leaves_a_finished_one_alone(recipe, tmp_path):
    del recipe["train"]
    recipe["finetune"] = {"epochs": 1, "batch_size": 12}
    read = check_recipe(recipe)
    first = finetune(read, tmp_path / "run", resume=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert finetune(read, tmp_path / "run", resume=True) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}


class Stops(Exception):
    pass


class StopsAt:
    """A callback that ends a run at an update."""

    def __init__(self, update):
        self.update = update

    def begin(self, phase, epochs, batches, batch_size, done):
        self.done = done

    def batch(self, loss, learning_rate):
        self.update -= 1
        if self.update == 0:
            raise Stops

    def epoch(self, record):
        pass

    def end(self):
        pass


@pytest.fixture
def stopped(recipe, tmp_path):
    """A run that ended in its second epoch."""
    del recipe["train"]
    recipe |= {"save_every": 2}
    read, run = check_recipe(recipe), tmp_path / "run"
    with pytest.raises(Stops):
        finetune(read, run, callback=StopsAt(11))
    assert len(list((run / "resume").glob("*.safetensors"))) == 2
    return read, run


def test_a_changed_recipe_is_refused_with_its_keys(stopped):
    read, run = stopped
    changed = read.model_copy(
        update={
            "seed": 7,
            "finetune": read.finetune.model_copy(
                update={"optimiser": read.finetune.optimiser.model_copy(update={"lr": 0.2})}
            ),
        }
    )
    with pytest.raises(RunError) as caught:
        finetune(changed, run, resume=True)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == ["seed: was 0, is 7", "finetune.optimiser.lr: was 0.05, is 0.2"]
    # How many processes load the data does not change what comes out.
    workers = read.model_copy(update={"data": read.data.model_copy(update={"workers": 1})})
    finetune(workers, run, resume=True)


def test_a_run_is_not_overwritten_without_a_word(stopped):
    read, run = stopped
    with pytest.raises(RunError, match="--resume to go on"):
        finetune(read, run)
    finetune(read, run, overwrite=True)
    assert not (run / "resume").exists()


def newest(run) -> Path:
    return max((run / "resume").glob("*.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "other", "empty"])
def test_a_bad_checkpoint_is_never_loaded(stopped, damage):
    read, run = stopped
    path = newest(run)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-100] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":  # with a name that fits, as if somebody had renamed it
        path.unlink()
        save_file({"weight": torch.zeros(3)}, path)
        path.rename(path.with_name(f"1-999999999-{resume._digest(path)}.safetensors"))
    else:
        state = read_checkpoint(run)
        state["recipe"]["seed"] = 5
        write_checkpoint(run, 1, 999, state)
    with pytest.raises(CheckpointError, match=r"checkpoint|says None") as caught:
        finetune(read, run, resume=True)
    if damage != "other":
        assert "delete it" in str(caught.value)
        newest(run).unlink()  # as the message says
        finetune(read, run, resume=True)
        assert (run / "summary.json").is_file()


def test_another_number_of_processes_is_refused(stopped):
    read, run = stopped
    write_checkpoint(run, 1, 999, {**read_checkpoint(run), "processes": 4})
    with pytest.raises(CheckpointError, match="got 1 processes, and a checkpoint of 4"):
        finetune(read, run, resume=True)


def test_a_full_disk_keeps_the_last_good_checkpoint(stopped, monkeypatch):
    read, run = stopped
    before = newest(run)
    content = before.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_file", full)
        with pytest.raises(CheckpointError, match=r"No space left on device.*--resume"):
            finetune(read, run, resume=True)
    assert newest(run) == before
    assert before.read_bytes() == content
    assert [path.name for path in (run / "resume").iterdir() if path.suffix != ".safetensors"] == []
    finetune(read, run, resume=True)


@pytest.mark.parametrize("what", ["append_to_log", "the weights"])
def test_a_full_disk_after_an_epoch_and_at_the_end(stopped, monkeypatch, what):
    read, run = stopped

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if what == "append_to_log":
            patch.setattr(training, what, full)
        else:
            patch.setattr(checkpoint.writing, "save_file", full)
        with pytest.raises(SubpathError, match="No space left on device"):
            finetune(read, run, resume=True)
    finetune(read, run, resume=True)
    assert (run / "summary.json").is_file()


@pytest.fixture
def small_files():
    """Files may have 10,000 bytes: a real error of the system when they grow beyond."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


def test_weights_that_do_not_fit_on_the_disk(tmp_path, small_files):
    model = subpath.convert(zoo.create_model("resnet18", channels=[8, 8, 8, 8]).eval())
    with pytest.raises(CheckpointError, match="expected a directory that can be written"):
        subpath.save(model, tmp_path)


def test_a_disk_that_fills_up_while_writing(tmp_path, small_files):
    write_checkpoint(tmp_path, 0, 1, {"x": torch.zeros(10)})
    with pytest.raises(CheckpointError, match="expected room on the disk"):
        write_checkpoint(tmp_path, 0, 2, {"x": torch.zeros(10_000)})
    assert torch.equal(read_checkpoint(tmp_path)["x"], torch.zeros(10))


def test_the_newest_two_are_kept_and_the_newest_is_read(tmp_path):
    for phase, updates in ((0, 5), (0, 40), (1, 2), (1, 10)):
        write_checkpoint(tmp_path, phase, updates, {"at": (phase, updates)})
    assert len(list((tmp_path / "resume").iterdir())) == 2
    assert read_checkpoint(tmp_path) == {"at": (1, 10)}
    assert read_checkpoint(tmp_path / "nothing") is None


def test_flatten_and_restore_are_opposites():
    state = {
        "state": {0: {"step": torch.tensor(3.0), "buffer": torch.randn(2, 3)}, 1: {}},
        "groups": [{"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "nesterov": True}],
        "name": "x",
        "tiny": 5e-324,
        "third": 1 / 3,
        "half": torch.randn(3).bfloat16(),
        "counts": torch.tensor([2**60]),
        "empty": [],
    }
    tensors = {}
    flat = json.loads(json.dumps(flatten(state, "", tensors)))
    again = restore(flat, tensors)
    assert repr(again) == repr(state)
    assert torch.equal(again["state"][0]["buffer"], state["state"][0]["buffer"])
    assert again["third"] == 1 / 3
    with pytest.raises(CheckpointError, match=r"got a set at /a/0"):
        flatten({"a": [{1}]}, "", {})


@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw", "lamb", "rmsprop", "nadamw"])
def test_the_state_of_optimisers_survives(name, tmp_path):
    from loops import batches, network, phase, training_of
    from subpath.finetune.callback import NoCallback
    from subpath.finetune.engine import train_epoch
    from subpath.finetune.loss_meter import LossMeter
    from subpath.finetune.phase import OptimiserSection
    from subpath.finetune.training import Checkpointer

    data = batches(2)
    section = phase(optimiser=OptimiserSection(name=name, lr=0.01, weight_decay=0.1))
    ends = []
    read = check_recipe({"model": {"name": "resnet18"}, "finetune": {"epochs": 1}})
    for interrupted in (False, True):
        torch.manual_seed(1)
        training = training_of(network(), section, data)
        train_epoch(training, 0, LossMeter(torch.device("cpu")), NoCallback())
        if interrupted:
            meter = LossMeter(torch.device("cpu"))
            Checkpointer(tmp_path, read, None).save(training, 1, meter, 12.5)
            torch.manual_seed(2)
            training = training_of(network(), section, data)
            checkpointer = Checkpointer(tmp_path, read, read_checkpoint(tmp_path))
            assert checkpointer.restore(training, meter) == (1, 12.5)
        train_epoch(training, 1, LossMeter(torch.device("cpu")), NoCallback())
        ends.append(training.updater.model.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_the_best_epoch_is_kept_beside_the_last(recipe, tmp_path):
    del recipe["train"]
    recipe |= {"keep_best": True, "finetune": {"epochs": 3, "batch_size": 12}}
    finetune(check_recipe(recipe), tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    means = [(line["top1"]["FFFF"] + line["top1"]["TTTT"]) / 2 for line in lines]
    assert (tmp_path / "run" / "best" / "subpath.json").is_file()
    (best,) = (tmp_path / "run" / "best").glob("*.safetensors")
    counted = load_file(best)["layer1.0.bn1.num_batches_tracked"]
    assert counted == 3 * (means.index(max(means)) + 1)
