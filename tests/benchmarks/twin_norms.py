"""Which norms need twins? Digits, a small ResNet with batch norm, several seeds.

    python tests/benchmarks/twin_norms.py [--seeds 5] [--train-epochs 8] [--epochs 5] [--lr 0.05]

For each seed the original is trained once, then converted with each choice of ``twin_norms`` and
fine-tuned with the same recipe. Prints held-back accuracy of super-net and base-net, and of the
fourteen configs between them, which are never trained: their mean and the worst.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics

import torch
from timm.utils import random_seed

import subpath
from subpath.finetune.accuracy import accuracies, accuracy
from subpath.finetune.data import held_back_loader, image_format, open_data, training_loader
from subpath.finetune.engine import finetune_epoch, make_trainer, train_epoch
from subpath.finetune.network import architecture, make_network
from subpath.finetune.observer import Silent
from subpath.finetune.read import check_recipe

CHOICES = ("mandatory", "all", "none")


def recipe(arguments: argparse.Namespace):
    sgd = {"name": "sgd", "weight_decay": 5e-4}
    return check_recipe(
        {
            "model": {
                "name": "resnet18",
                "arguments": {"channels": [16, 32, 64, 128], "zero_init_last": False},
            },
            "data": {
                "name": "digits",
                "input_size": [1, arguments.size, arguments.size],
                "crop": 1.0,
                "augment": {"scale": [0.7, 1.0], "ratio": [0.9, 1.1], "hflip": 0.0},
            },
            "train": {"epochs": arguments.train_epochs, "optimiser": {**sgd, "lr": 0.1}},
            "finetune": {"epochs": arguments.epochs, "optimiser": {**sgd, "lr": arguments.lr}},
        }
    )


def run(read, seed: int, choices) -> dict[str, dict[str, float]]:
    device, observer = torch.device("cpu"), Silent()
    random_seed(seed)
    split = open_data(read.data, seed)
    network = make_network(read, architecture(read, split.num_classes))
    form = image_format(read.data, network)
    held_back = held_back_loader(split.held_back, form, 128, 0)
    batches = training_loader(split.train, form, read.data.augment, read.train.batch_size, 0)
    trainer = make_trainer(network, read.train, len(batches), split.num_classes, device)
    for _ in range(read.train.epochs):
        train_epoch(network, batches, trainer, observer)
    results = {"original": {"FFFF": accuracy(network, held_back, device)}}
    for choice in choices:
        random_seed(seed)
        example = torch.zeros(2, *form.size)
        model = subpath.convert(copy.deepcopy(network), example, twin_norms=choice)
        trainer = make_trainer(model, read.finetune, len(batches), split.num_classes, device)
        for _ in range(read.finetune.epochs):
            finetune_epoch(model, batches, trainer, read.distill, observer)
        top1 = accuracies(model, held_back, device, model.skip_configs())
        results[choice] = {skip: top1.pop(skip) for skip in ("FFFF", "TTTT")}
        results[choice] |= {"between": statistics.mean(top1.values()), "worst": min(top1.values())}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--choices", nargs="+", default=CHOICES)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    read = recipe(arguments)
    everything = []
    for seed in range(arguments.seeds):
        everything.append(run(read, seed, arguments.choices))
        print(seed, json.dumps(everything[-1]), flush=True)
    for choice in ("original", *arguments.choices):
        for skip in everything[0][choice]:
            values = [results[choice][skip] for results in everything]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean, low, high = statistics.mean(values), min(values), max(values)
            print(f"{choice:9} {skip:7}  {mean:.2f} +- {spread:.2f}  ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
