"""The method's promise on real data: Fashion-MNIST, three kinds of network, several seeds.

    apt-get install dataset-fashion-mnist
    python tests/benchmarks/fashion.py --networks resnet vit mobilenet --seeds 0 1 2
    python tests/benchmarks/fashion_table.py

For each network (recipes/fashion-*.yaml; ``lite0`` needs the weights that pretrained.py writes) and
seed:

- ``alone FFFF``, ``alone TTTT``: the network, and its base-net as a network of its own, each
  trained by itself; the first also tells what skipping costs where nothing was trained for it;
- ``joint``: super-net and base-net trained together from the first step, for as many epochs;
- ``short``, ``third``: the trained original, converted and fine-tuned for a tenth or a third of its
  training cost;
- ``plain``: the trained original trained on as usual, on the images of ``short``: what training on
  does by itself;
- ``cut``: the base-net taken out of the trained original and trained on as usual, on the same
  images: what so short a training gives a network of that depth that shares its weights with none;
- ``statistics``, ``fit``: the trained original, converted; its twins' statistics estimated again,
  and with patches too (``subpath.fit``, 1,000 images, no gradient);
- ``frozen``, ``frozen 3``, ``frozen 1``: after ``fit`` twins and patches learn, and nothing else,
  for 10, 3 and 1 percent of the original's training cost; ``.../no patches`` twins alone,
  ``.../low rank`` additions of rank 8 to the layers of mandatory blocks too;
- ``recipe``: the trained original, converted and fine-tuned as the recipe says;
- ``joint/...``, ``short/...``: the same with labels for the base-net too (what recipes do by
  default), with labels alone (no distillation), without feature distillation, with the published
  weight of the loss, with other twin norms;
- ``.../gentle``: labels too, by AdamW at a low rate with twin norms at twenty times that, for all
  networks alike; ``.../gentle, one rate``: without the twenty times.

Every result is one line in ``--results``; what is there is not done again, so a stopped run goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import subpath
from subpath.finetune import read_recipe
from subpath.finetune.callback import NoCallback
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.context import RunContext, converted, make_phase, make_training
from subpath.finetune.criterion import make_criterion
from subpath.finetune.data import Split, _Part, open_data
from subpath.finetune.engine import distillation_learner, task_learner, train_epoch
from subpath.finetune.loss_meter import LossMeter
from subpath.finetune.metrics import accuracies, accuracy
from subpath.finetune.network import make_network
from subpath.finetune.phase import PhaseSection
from subpath.finetune.processes import start_processes
from subpath.finetune.seeds import set_seeds
from subpath.finetune.tasks.classification import ImageClassification
from subpath.measure import count_macs

RECIPES = Path(__file__).parents[2] / "recipes"
RESULTS = Path(__file__).parents[2] / "docs" / "fashion.jsonl"
LABELS_TOO = {"distill": {"base_task": 1.0}}
LABELS_ALONE = {"logits": False, "features": False, "base_task": 1.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "labels too": LABELS_TOO,
    "no distillation": {"distill": LABELS_ALONE},
    "as published": {"distill": {"weight": 1.0}},
    "no features": {"distill": {"features": False}},
    "features": {"distill": {"features": True}},
    "no twins": {"convert": {"twin_norms": "none"}},
    "all twins": {"convert": {"twin_norms": "all"}},
    "mandatory twins": {"convert": {"twin_norms": "mandatory"}},
    "gentle": LABELS_TOO,
    "no patches": LABELS_TOO,
    "low rank": {**LABELS_TOO, "convert": {"low_rank": 8}},
    "gentle, one rate": LABELS_TOO,
}
GENTLE = {"name": "adamw", "lr": 5e-4, "weight_decay": 0.05}
OPTIMISERS = {"gentle": {**GENTLE, "twin_lr": 20.0}, "gentle, one rate": GENTLE}
# What the comparison began with: the method's loss, in which the base-net sees no labels.
METHOD = "distill.base_task=0"
# Of the cost of the original's training.
SHARES = {"short": 0.1, "third": 1 / 3, "plain": 0.1, "cut": 0.1}
FROZEN = {"frozen": 0.1, "frozen 3": 0.03, "frozen 1": 0.01}
FROZEN_OPTIMISER = {"name": "adamw", "weight_decay": 0.0, "twin_lr": 10.0}
# Lite0 is wider and deeper than the others; its patches lose their way at what suits theirs.
FROZEN_RATES = {"lite0": {"lr": 1e-3}}
SMALL_RATES = {"lr": 2e-3, "patch_lr": 10.0}
SHORT_LR = {"resnet": 0.01, "vit": 1e-3, "mobilenet": 0.02}
SHORT_BATCH = 32
CALIBRATED = ("", "labels too", "gentle", "low rank")
NOT_TRAINED = ("alone FFFF", "plain", "statistics")
DEFAULT = ["alone FFFF", "alone TTTT", "joint", "joint/labels too", "short", "short/labels too"]
DEFAULT += ["short/no distillation", "short/no features", "short/no twins", "plain", "third"]
DEFAULT += [f"{kind}/gentle" for kind in SHARES] + ["short/gentle, one rate"]


def context_of(name: str, seed: int, variant: str, arguments: argparse.Namespace) -> RunContext:
    recipe = read_recipe(RECIPES / f"fashion-{name}.yaml", [f"seed={seed}", METHOD, *arguments.set])
    for section, values in VARIANTS[variant].items():
        changed = getattr(recipe, section).model_copy(update=values)
        recipe = recipe.model_copy(update={section: changed})
    split = open_data(recipe.data, seed)
    if arguments.images is not None:
        split = some(split, arguments.images)
    if arguments.validation is not None:
        split = replace(split, validation=_Part(split.validation, range(arguments.validation)))
    task = ImageClassification(recipe.data, split)
    made = task.architecture(recipe)
    task = task.fitted(make_network(recipe, made))
    return RunContext(recipe, Path(), start_processes("cpu", "fp32"), task, made, NoCallback())


def some(split: Split, images: int) -> Split:
    """The first so many of the training images."""
    return replace(split, train=_Part(split.train, range(images)))


def fresh(context: RunContext) -> nn.Module:
    set_seeds(context.recipe.seed)
    return make_network(context.recipe, context.made)


def train_phase(network: nn.Module, context: RunContext, phase: PhaseSection) -> nn.Module:
    """Train a network as usual."""
    batches, updater = make_phase(network, phase, context, 0)
    learn = task_learner(network, updater, make_criterion(phase))
    training = make_training("train", phase, batches, learn, updater, context)
    for epoch in range(phase.epochs):
        train_epoch(training, epoch, LossMeter(torch.device("cpu")), NoCallback())
    return updater.kept


def train_together(model, context: RunContext, phase: PhaseSection) -> subpath.AdaptiveModel:
    """Train super-net and base-net."""
    batches, updater = make_phase(model, phase, context, 1)
    student = ConfigRunner(model.train(), context.processes)
    learn = distillation_learner(student, updater, make_criterion(phase), context.recipe.distill)
    training = make_training("finetune", phase, batches, learn, updater, context)
    for epoch in range(phase.epochs):
        train_epoch(training, epoch, LossMeter(torch.device("cpu")), NoCallback())
    return updater.kept


def short_phase(context: RunContext, model, epochs: int, share: float, changed: dict[str, Any]):
    """A fine-tune of as many epochs and images as this share of the training's cost pays for."""
    phase = context.recipe.finetune
    schedule = phase.schedule.model_copy(update={"warmup_epochs": 0})
    optimiser = phase.optimiser.model_copy(update=changed)
    paid = share * epochs / (1 + model.share_of_work(base(model)))
    rounds = max(1, round(paid))
    task = context.task
    assert isinstance(task, ImageClassification)
    images = min(round(paid / rounds * len(task.split.train)), len(task.split.train))
    short = {"epochs": rounds, "batch_size": SHORT_BATCH}
    phase = phase.model_copy(update={**short, "schedule": schedule, "optimiser": optimiser})
    return phase, replace(context, task=replace(task, split=some(task.split, images)))


def base(model) -> str:
    return "T" * len(model.stages)


def all_configs(model, context: RunContext, calibrated: bool) -> dict[str, Any]:
    skips = model.skip_configs()
    found: dict[str, Any] = {
        "top1": accuracies(model, context.validation, context.processes, skips)
    }
    if calibrated:
        batches = list(
            context.task.unaugmented_batches(128, 20, context.recipe.seed, context.place)
        )
        subnets = {skip: subpath.calibrate(model, batches, skip) for skip in skips[1:-1]}
        top1 = accuracies(model, context.validation, context.processes, skips, None, subnets)
        found["calibrated"] = top1
    counts = count_macs(model, context.task.example(1), skips=skips)
    return {**found, "gmacs": {str(skip): counts[skip].gmacs for skip in skips}}


def run_one(name: str, seed: int, what: str, arguments: argparse.Namespace) -> dict[str, Any]:
    kind, _, variant = what.partition("/")
    context = context_of(name, seed, variant, arguments)
    start = time.perf_counter()
    trained = train_as(kind, variant, name, context, arguments)
    seconds = round(time.perf_counter() - start)
    if isinstance(trained, subpath.AdaptiveModel):
        wanted = kind not in NOT_TRAINED and variant in CALIBRATED
        calibrated = wanted and not arguments.no_calibration
        result = all_configs(trained, context, calibrated)
    else:
        result = {"top1": {"TTTT": accuracy(trained, context.validation, context.processes)}}
    return {"network": name, "seed": seed, "what": what, "seconds": seconds, **result}


def train_as(
    kind: str, variant: str, name: str, context: RunContext, arguments: argparse.Namespace
):
    """The network trained as ``kind`` says: adaptive, or a base-net of its own."""
    saved = arguments.weights / f"{name}-{context.recipe.seed}.pt"
    whole = context.recipe.train or context.recipe.finetune
    epochs = arguments.epochs or whole.epochs
    whole = whole.model_copy(update={"epochs": epochs})
    network = fresh(context)
    if kind == "alone FFFF":
        network = train_phase(network, context, whole)
        saved.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), saved)
        return converted(network, context)
    if kind == "alone TTTT":
        return train_phase(cut_out(converted(network, context)), context, whole)
    if kind == "joint":
        return train_together(converted(network, context), context, whole)
    network.load_state_dict(torch.load(saved, weights_only=True))
    model = converted(network, context)
    if kind in ("statistics", "fit", *FROZEN):
        few = variant == "no patches" or kind == "statistics"
        fit_to(model, context, patches=not few)
    if kind in ("statistics", "fit"):
        return model
    if kind == "recipe":
        return train_together(model, context, context.recipe.finetune)
    if kind in FROZEN:
        changed = FROZEN_OPTIMISER | FROZEN_RATES.get(name, SMALL_RATES)
        changed |= {"lr": arguments.lr} if arguments.lr else {}
        return train_frozen(model, with_labels(context), epochs, FROZEN[kind], changed)
    changed = OPTIMISERS.get(variant) or {"lr": SHORT_LR[name]}
    if arguments.lr:
        changed = {**changed, "lr": arguments.lr}
    phase, part = short_phase(context, model, epochs, SHARES[kind], changed)
    if kind == "cut":
        return train_phase(cut_out(model), part, phase)
    if kind == "plain":
        return converted(train_phase(network, part, phase), context)
    return train_together(model, part, phase)


def fit_to(model: subpath.AdaptiveModel, context: RunContext, patches: bool) -> None:
    """Fit patches and statistics, or statistics alone, to 1,000 training images."""
    batches = list(context.task.unaugmented_batches(125, 8, context.recipe.seed, context.place))
    subpath.fit(model, batches, max_cost=0.02 if patches else 1e-9)


def with_labels(context: RunContext) -> RunContext:
    distill = context.recipe.distill.model_copy(update={"base_task": 1.0})
    return replace(context, recipe=context.recipe.model_copy(update={"distill": distill}))


def train_frozen(model, context: RunContext, epochs: int, share: float, changed: dict[str, Any]):
    """Train twins and patches alone, for a share of the original's training cost.

    A step costs the super-net forward and the base-net forward and back to the activations, without
    the gradients of weights: in passes forward, ``1 + 2 w`` of the 3 of a plain step.
    """
    work = model.share_of_work(base(model))
    as_two_passes = share * 3 * (1 + work) / (1 + 2 * work)
    phase, part = short_phase(context, model, epochs, as_two_passes, changed)
    model.freeze_original()
    return train_together(model, part, phase).eval()


def cut_out(model: subpath.AdaptiveModel) -> nn.Module:
    """The base-net as a network of its own."""
    return model.subnet(base(model), copy_weights=True)


def key(record: dict[str, Any]) -> tuple[str, int, str]:
    return record["network"], record["seed"], record["what"]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(arguments: argparse.Namespace) -> None:
    done = {key(record) for record in read(arguments.results)}
    for seed in arguments.seeds:
        for name in arguments.networks:
            for what in arguments.what:
                if (name, seed, what) in done:
                    continue
                record = run_one(name, seed, what, arguments)
                with arguments.results.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                ends = {skip: top1 for skip, top1 in record["top1"].items() if len(set(skip)) == 1}
                print(name, seed, what, ends, f"{record['seconds']} s", flush=True)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(SHORT_LR))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--what", nargs="+", default=DEFAULT)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--weights", type=Path, default=Path("runs/fashion"))
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--images", type=int, help="train on so many images alone")
    parser.add_argument("--no-calibration", action="store_true", help="of configs between")
    parser.add_argument("--validation", type=int, help="measure on so many images alone")
    parser.add_argument("--set", nargs="*", default=[], help="key=value, instead of the recipe's")
    parser.add_argument("--lr", type=float, help="of the short fine-tune")
    return parser


def main() -> None:
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    run(arguments)


if __name__ == "__main__":
    main()
