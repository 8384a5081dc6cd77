"""Recipes are strict, and say everything that is wrong with them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from subpath.errors import RecipeError
from subpath.finetune import check_recipe, read_recipe, write_recipe

SMALL = "model: {name: resnet18}\nfinetune: {epochs: 3}\n"
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def read(tmp_path, text, *overrides):
    (tmp_path / "small.yaml").write_text(text)
    return read_recipe(tmp_path / "small.yaml", overrides)


def refusal(tmp_path, text, *overrides) -> str:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value)


def test_all_problems_are_shown_at_once_with_their_key_paths(tmp_path):
    message = refusal(
        tmp_path,
        """
seed: -1
model: {nam: resnet18}
data: {name: folder, augment: {scale: [1, 0.5], hflipp: 1}, input_size: [3, "32", 32]}
convert: {skippable: [a], groups: x, twin_norms: some}
finetune:
  epochs: 2.5
  optimiser: {lr: .nan, name: sdg}
  schedule: {name: sine}
distill: {alpha: 2, temperature: 0, features: 1}
distil: 1
""",
    )
    lines = [line.strip() for line in message.splitlines()[1:]]
    got = {line.partition(":")[0]: line for line in lines}
    assert set(got) == {
        "seed",
        "model.name",
        "model.nam",
        "data.augment.scale",
        "data.augment.hflipp",
        "data.input_size.1",
        "convert.skippable",
        "convert.groups",
        "convert.twin_norms",
        "finetune.epochs",
        "finetune.optimiser.lr",
        "finetune.optimiser.name",
        "finetune.schedule.name",
        "distill.alpha",
        "distill.temperature",
        "distill.features",
        "distil",
    }
    assert message.startswith(f"got {len(lines)} problems in")
    assert "did you mean distill?" in got["distil"]
    assert "did you mean hflip?" in got["data.augment.hflipp"]
    assert "missing" in got["model.name"]
    assert "got '32'" in got["data.input_size.1"]
    assert "sgd" in got["finetune.optimiser.name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {name: resnet1888}\nfinetune: {epochs: 3}", "resnet18"),
        ("model: {name: resnet18}", "finetune: missing"),
        (SMALL + "data: {name: folder}", "expected a root for 'folder'"),
        (SMALL + "data: {input_size: [1, 8, 8], mean: [0.5, 0.5]}", "1 numbers in mean"),
        (
            "model: {name: resnet18}\nfinetune: {epochs: 3, schedule: {warmup_epochs: 3}}",
            "warmup_epochs below epochs, got 3 of 3",
        ),
        (
            "model: {name: resnet18}\nfinetune: {epochs: 3, batch_size: 3, mixup: {mixup: 1}}",
            "even batch_size",
        ),
        (SMALL + "compile: true\nrecompute: true", "compile or recompute, not both"),
        (SMALL + "train: {epochs: 1, optimiser: {twin_lr: 2}}", "twin_lr in finetune alone"),
        (SMALL + "train: {epochs: 1, optimiser: {patch_lr: 2}}", "patch_lr in finetune alone"),
        (
            SMALL + "distill: {logits: false, features: false, base_task: 0}",
            "distill: expected logits",
        ),
        (
            "model: {name: resnet18}\nfinetune: {epochs: 3, schedule: {name: multistep}}",
            "decay_milestones with multistep",
        ),
        (
            "model: {name: resnet18}\nfinetune: {epochs: 3, batch_size: 4, mixup: {switch: 1.0}}",
            "mixup.mixup or mixup.cutmix above 0",
        ),
        (SMALL + "device: gpu9", "cuda"),
        (SMALL + "name: ../x", "plain name"),
        (
            "model: {name: resnet18, arguments: {pretrained: true}}\nfinetune: {epochs: 3}",
            "use model.weights",
        ),
    ],
)
def test_impossible_values(tmp_path, text, expected):
    assert expected in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b", "list at the top"),
        ("", "NoneType at the top"),
        ("a: [", "not YAML"),
        (SMALL + "seed: 1\nseed: 2", "'seed' is given twice"),
        ("model: !!python/object/apply:os.getcwd []", "not YAML"),
        ("? [1, 2]\n: 3", "not YAML"),
        ("1: 2\n" + SMALL, "1: "),
    ],
)
def test_what_is_no_recipe(tmp_path, text, expected):
    assert expected in refusal(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "nothing.yaml")


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    text = SMALL + "distill: {alpha: 5e-1, temperature: 1E+1}\n"
    read_ = read(tmp_path, text, "finetune.optimiser.lr=1e-3")
    assert (read_.distill.alpha, read_.distill.temperature) == (0.5, 10.0)
    assert read_.finetune.optimiser.lr == 0.001


def test_overrides_replace_add_and_remove(tmp_path):
    text = SMALL + "train: {epochs: 9}\n"
    changed = read(
        tmp_path,
        text,
        "finetune.epochs=7",
        "data.augment.scale=[0.5, 1.0]",
        "train=null",
        "model.arguments.drop_rate=0.1",
    )
    assert changed.finetune.epochs == 7
    assert changed.data.augment.scale == (0.5, 1.0)
    assert changed.train is None
    assert changed.model.arguments == {"drop_rate": 0.1}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("finetune.epochs", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("finetune..epochs=3", "expected key.path=value"),
        ("finetune.epochs.more=3", "finetune.epochs is 3"),
        ("finetune.epoch=3", "did you mean epochs?"),
        ("finetune.epochs=[", "not YAML"),
        ("finetune.epochs='3'", "finetune.epochs: got '3'"),
    ],
)
def test_wrong_overrides(tmp_path, override, expected):
    assert expected in refusal(tmp_path, SMALL, override)


def test_a_written_recipe_reads_back_the_same(tmp_path):
    first = read(tmp_path, SMALL + "data: {input_size: [1, 8, 8]}\nconvert: {skippable: [1, 0.5]}")
    assert first.name == "small"
    (tmp_path / "again.yaml").write_text(write_recipe(first))
    assert read_recipe(tmp_path / "again.yaml") == first


def test_the_default_loss_is_the_published_one_with_labels_for_the_base_net():
    """alpha = 0.5, T = 1 and feature distillation: Kang and Lee, section 3.2."""
    distill = check_recipe({"model": {"name": "resnet18"}, "finetune": {"epochs": 1}}).distill
    assert (distill.alpha, distill.temperature, distill.features) == (0.5, 1.0, True)
    assert distill.base_task == 1.0


@pytest.mark.parametrize(
    ("section", "task"),
    [({}, 1.0), ({"alpha": 0.8}, 1.0), ({"weight": 1.0}, 0.5), ({"alpha": 0, "weight": 3.0}, 0.0)],
)
def test_the_task_counts_in_full_unless_the_recipe_weighs_it(section, task):
    given = {"model": {"name": "resnet18"}, "finetune": {"epochs": 1}, "distill": section}
    distill = check_recipe(given).distill
    assert distill.whole * distill.alpha == pytest.approx(task)


def test_distillation_alone_counts_once():
    given = {"model": {"name": "resnet18"}, "finetune": {"epochs": 1}, "distill": {"alpha": 0}}
    assert check_recipe(given).distill.whole == 1.0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_this_project_are_valid_and_say_what_they_cost(path):
    read_recipe(path)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("subpath finetune", "Expected", "Cost"):
        assert any(word in line for line in header), word
