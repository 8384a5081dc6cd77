"""Whole runs on a folder of small images: what they write, and what they refuse."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import subpath
from subpath import zoo
from subpath.errors import CheckpointError, DataError, RecipeError, RunError, SkipConfigError
from subpath.finetune import check_recipe, evaluate, finetune, read_recipe
from subpath.finetune.data import image_format, open_data
from subpath.finetune.loader import unaugmented_batches, validation_batches
from subpath.finetune.network import architecture, make_network


class Recording:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def begin(self, phase, epochs, batches, batch_size, done):
        self.told.append(("begin", phase, epochs, batches, batch_size, done))

    def batch(self, loss, learning_rate):
        self.told.append(("batch", None if loss is None else float(loss), learning_rate))

    def epoch(self, record):
        self.told.append(("epoch", record["phase"], record["epoch"]))

    def end(self):
        self.told.append(("end",))


@pytest.fixture(scope="session")
def done(tmp_path_factory, images):
    """One run from start to end."""
    directory, callback = tmp_path_factory.mktemp("runs") / "tiny", Recording()
    read = check_recipe(
        {
            "name": "tiny",
            "device": "cpu",
            "model": {"name": "resnet18", "arguments": {"channels": [8, 8, 8, 8]}},
            "data": {
                "name": "folder",
                "root": str(images),
                "input_size": [3, 32, 32],
                "augment": {"scale": [0.5, 1.0]},
            },
            "train": {"epochs": 3, "batch_size": 6},
            "finetune": {"epochs": 2, "batch_size": 6},
        }
    )
    return directory, finetune(read, directory, callback=callback), callback.told, read


def test_what_a_run_writes(done):
    directory, summary, _, read = done
    names = {path.name for path in directory.iterdir() if path.suffix != ".safetensors"}
    assert names == {"subpath.json", "recipe.yaml", "log.jsonl", "summary.json"}
    written = json.loads((directory / "summary.json").read_text())
    assert written == summary.to_dict()
    assert written["model"] == "resnet18"
    assert len(written["skip"]) == 16
    assert set(written["skip"]["FFFF"]) == {"top1", "gmacs"}
    assert 0 <= written["skip"]["TTTT"]["top1"] <= 100
    assert written["skip"]["TTTT"]["gmacs"] < written["skip"]["FFFF"]["gmacs"]
    again = read_recipe(directory / "recipe.yaml")
    assert again.model_copy(update={"output": None}) == read


def test_the_log_has_one_line_an_epoch(done):
    directory, summary, _, _ = done
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [
        *(("train", n) for n in (1, 2, 3)),
        *(("finetune", n) for n in (1, 2)),
    ]
    assert set(lines[0]["top1"]) == {"original"}
    for line in lines[3:]:
        learned = line["logits"] + line["features"] + line["base_task"]
        total = 0.5 * line["task"] + 0.5 * learned
        assert line["loss"] == pytest.approx(total, rel=1e-4)
    last = {skip: summary.to_dict()["skip"][skip]["top1"] for skip in ("FFFF", "TTTT")}
    assert lines[-1]["top1"] == last


def test_the_observer_sees_every_batch(done):
    told = done[2]
    begun = [event for event in told if event[0] == "begin"]
    assert begun == [
        ("begin", "train", 3, 6, 6, 0),
        ("begin", "finetune", 2, 6, 6, 0),
        ("begin", "evaluate", 1, 3, 6, 0),
    ]
    assert sum(event[0] == "batch" for event in told) == 3 * 6 + 2 * 6 + 3
    assert sum(event[0] == "end" for event in told) == 3


def test_the_saved_network_has_the_accuracy_of_the_summary(done):
    """Counted here, with the weights on disk and a loop of the test's own."""
    directory, summary, _, read = done
    model = subpath.load(directory)
    split = open_data(read.data, read.seed)
    loader = validation_batches(split.validation, image_format(read.data, model), 15)
    ((x, y),) = list(loader)
    with torch.no_grad():
        for config in summary.configs:
            right = (model(x, skip=config.skip).argmax(1) == y).float().mean()
            assert config.top1 == pytest.approx(100 * right.item(), abs=1e-3)


def test_it_learns_something(done):
    """Three classes that can be seen; guessing gives 33 %."""
    summary = done[1].to_dict()["skip"]
    assert summary["FFFF"]["top1"] > 60


def test_twins_have_learned_statistics_of_their_own(done):
    (path,) = done[0].glob("*.safetensors")
    state = load_file(path)
    twin, own = "twin_norms.2.layer3.0.bn1.running_mean", "layer3.0.bn1.running_mean"
    assert not torch.allclose(state[twin], state[own])
    # The twin counts the fine-tuning alone: 2 epochs of 6 batches, on top of the copied 18.
    assert state["twin_norms.2.layer3.0.bn1.num_batches_tracked"] == 30
    assert state["layer3.0.bn1.num_batches_tracked"] == 30


def test_evaluate_finds_the_same_numbers(done):
    directory, summary, _, _ = done
    assert evaluate(directory) == summary
    two = evaluate(directory, ["TTTT", "FFFF"])
    assert [config.skip for config in two.configs] == ["TTTT", "FFFF"]
    assert two.configs[0] == summary.configs[-1]
    with pytest.raises(SkipConfigError, match="expected 4"):
        evaluate(directory, ["TT"])


def test_calibration_is_for_the_configs_between(done):
    """Against ``subpath.calibrate`` on all 36 training images."""
    directory, summary, _, read = done
    got = evaluate(directory, ["FFFF", "TTTT", "FTFT"], calibrate_batches=6)
    assert got.configs[:2] == (summary.configs[0], summary.configs[-1])
    model = subpath.load(directory)
    split = open_data(read.data, read.seed)
    form = image_format(read.data, model)
    training = list(unaugmented_batches(split.train, form, 6, 6, read.seed))
    assert sum(len(x) for x, _ in training) == 36
    subnet = subpath.calibrate(model, training, "FTFT")
    ((x, y),) = list(validation_batches(split.validation, form, 15))
    with torch.no_grad():
        right = (subnet(x).argmax(1) == y).float().mean().item()
    assert got.configs[2].top1 == pytest.approx(100 * right, abs=1e-3)


def test_the_same_seed_gives_the_same_bits(recipe, tmp_path):
    del recipe["train"]
    recipe["finetune"] = {"epochs": 1, "batch_size": 12}
    states = []
    for number, seed in enumerate((1, 1, 2)):
        finetune(check_recipe({**recipe, "seed": seed}), tmp_path / str(number))
        (path,) = (tmp_path / str(number)).glob("*.safetensors")
        states.append(load_file(path))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_the_number_of_threads_is_put_back(recipe, tmp_path):
    class Counting(Recording):
        def batch(self, loss, learning_rate):
            self.told.append(torch.get_num_threads())

    del recipe["train"]
    callback, before = Counting(), torch.get_num_threads()
    recipe |= {"threads": before + 1, "finetune": {"epochs": 1, "batch_size": 36}}
    finetune(check_recipe(recipe), tmp_path / "run", callback=callback)
    assert before + 1 in callback.told
    assert torch.get_num_threads() == before


def test_a_directory_in_use_is_refused_before_anything_is_done(recipe, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "summary.json").write_text("old")
    with pytest.raises(RunError, match=r"not empty.*--overwrite"):
        finetune(check_recipe(recipe), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "summary.json"]


def test_overwriting_leaves_other_files_and_nothing_of_the_old_run(recipe, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "log.jsonl").write_text("old\n")
    (tmp_path / "summary.json").write_text("old")
    recipe["finetune"] = {"epochs": 1, "optimiser": {"lr": 1e30}, "batch_size": 12}
    del recipe["train"]
    with pytest.raises(RunError, match=r"epoch 1 of finetune.*finetune\.optimiser\.lr"):
        finetune(check_recipe(recipe), tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "log.jsonl").exists()
    with pytest.raises(CheckpointError):
        evaluate(tmp_path)


def test_a_run_that_failed_at_once_can_be_started_again(recipe, tmp_path):
    too_large = {**recipe, "finetune": {"epochs": 1, "batch_size": 300}}
    del too_large["train"]
    for _ in range(2):
        with pytest.raises(DataError, match="36 training images for batches of 300"):
            finetune(check_recipe(too_large), tmp_path / "run")


def test_a_network_that_cannot_be_converted_fails_before_training(recipe, tmp_path):
    recipe["convert"] = {"blocks": ["layer9.9"]}
    callback = Recording()
    with pytest.raises(subpath.SubpathError, match="layer9"):
        finetune(check_recipe(recipe), tmp_path / "run", callback=callback)
    assert callback.told == []
    assert not (tmp_path / "run").exists()


def test_missing_data_and_devices_are_refused(recipe, tmp_path):
    recipe["data"]["root"] = str(tmp_path / "nothing")
    with pytest.raises(DataError, match="not there"):
        finetune(check_recipe(recipe), tmp_path / "run")
    with pytest.raises(RecipeError, match="device: cuda:77"):
        finetune(check_recipe({**recipe, "device": "cuda:77"}), tmp_path / "run")


def test_local_weights_start_the_network(recipe, tmp_path):
    source = zoo.create_model("resnet18", channels=[8, 8, 8, 8], num_classes=3)
    save_file(source.state_dict(), tmp_path / "three.safetensors")
    recipe["model"]["weights"] = str(tmp_path / "three.safetensors")
    read = check_recipe(recipe)
    made = make_network(read, architecture(read, num_classes=3)).state_dict()
    assert all(torch.equal(made[key], value) for key, value in source.state_dict().items())
    # Another number of classes: all but the classifier.
    made = make_network(read, architecture(read, num_classes=7)).state_dict()
    assert made["fc.weight"].shape == (7, 8)
    assert torch.equal(made["layer4.1.conv2.weight"], source.state_dict()["layer4.1.conv2.weight"])
    recipe["model"]["arguments"]["channels"] = [8, 8, 8, 16]
    read = check_recipe(recipe)
    with pytest.raises(CheckpointError, match=r"layer4\.0\.conv1\.weight"):
        make_network(read, architecture(read, num_classes=3))
