"""Which norms need twins? Digits, a small ResNet with batch norm, several seeds.

    python tests/benchmarks/twin_norms.py [--seeds 5] [--train-epochs 8] [--epochs 5] [--lr 0.05]

For each seed and choice the same original is trained, converted and fine-tuned with the same
recipe. Prints validation accuracy of super-net and base-net, and of the
fourteen configs between them, which are never trained: their mean and the worst.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from subpath.finetune import check_recipe, finetune

CHOICES = ("mandatory", "all", "none")


def recipe(arguments: argparse.Namespace):
    sgd = {"name": "sgd", "weight_decay": 5e-4}
    return check_recipe(
        {
            "device": "cpu",
            "threads": 1,
            "channels_last": True,
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
    """The same seed trains the same original, so the choices differ in the second phase alone."""
    results = {}
    for choice in choices:
        section = read.convert.model_copy(update={"twin_norms": choice})
        chosen = read.model_copy(update={"seed": seed, "convert": section})
        with tempfile.TemporaryDirectory() as directory:
            summary = finetune(chosen, directory)
            log = (Path(directory) / "log.jsonl").read_text().splitlines()
        trained = [record for record in map(json.loads, log) if record["phase"] == "train"]
        results["original"] = {"FFFF": trained[-1]["top1"]["original"]}
        top1 = {config.skip: config.top1 for config in summary.configs}
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
