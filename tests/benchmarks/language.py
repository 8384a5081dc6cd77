"""A small language model: patches, a frozen original, and a gentle fine-tune of everything.

    pip install 'subpath[transformers]'
    python tests/benchmarks/language.py [--seed 0] [--epochs 2]

The network of recipes/python-docs.yaml learns the documentation strings of Python's standard
library as usual, and is converted: skipped naively; with patches fitted to 256 training sequences;
after one more epoch in which twin norms and patches learn, everything else frozen; the same with
additions of rank 16 to the mandatory layers; and, from the original again, after one in which
everything learns gently. Perplexity of a byte on the validation
files, for the configs from the super-net to the base-net, one stage after the other, and the worst.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import subpath
from subpath.finetune import Summary, finetune, read_recipe
from subpath.finetune.callback import NoCallback
from subpath.finetune.context import RunContext, fitted
from subpath.finetune.evaluation import summarise
from subpath.finetune.network import make_network
from subpath.finetune.processes import start_processes
from subpath.finetune.tasks import open_task

RECIPE = Path(__file__).parents[2] / "recipes" / "python-docs.yaml"
PLAIN = "{name: adamw, lr: 3e-3, weight_decay: 0.01}"
FROZEN = [
    "finetune.original=frozen",
    "finetune.optimiser={name: adamw, lr: 2e-3, weight_decay: 0.0, twin_lr: 10, patch_lr: 10}",
]
LEARNING = {
    "frozen": FROZEN,
    "frozen with additions": [*FROZEN, "convert.low_rank=16"],
    "gentle": [
        "finetune.optimiser={name: adamw, lr: 5e-4, weight_decay: 0.05, twin_lr: 20}",
    ],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2, help="in which the original learns")
    parser.add_argument("--runs", type=Path, default=Path("runs/language"))
    options = parser.parse_args()
    given = [
        f"seed={options.seed}",
        f"train={{epochs: {options.epochs}, batch_size: 16, optimiser: {PLAIN}}}",
        "fit={images: 256, batch_size: 16}",
    ]
    found = {}
    for kind, more in LEARNING.items():
        recipe = read_recipe(RECIPE, given + more)
        folder = options.runs / f"{kind.replace(' ', '-')}-{options.seed}"
        found[kind] = finetune(recipe, folder, overwrite=True)
        if kind == "frozen":
            before(folder, given + more)
        show(f"one epoch more, {kind}", found[kind])


def before(folder: Path, given: list[str]) -> None:
    """What the trained original does when it is skipped naively, and with patches alone."""
    recipe = read_recipe(RECIPE, given)
    torch.set_num_threads(recipe.threads or torch.get_num_threads())
    task = open_task(recipe)
    made = task.architecture(recipe)
    fresh = make_network(recipe, made)
    model = subpath.load(folder, fresh, task.example_to_load())
    subpath.load_original(model, subpath.original_state_dict(model))  # twins and patches anew
    processes = start_processes(recipe.device, recipe.precision)
    context = RunContext(recipe, folder, processes, task.fitted(model), made, NoCallback())
    show("skipped naively", summarise(model, None, context))
    show("with patches fitted", summarise(fitted(model, context), None, context))


def show(what: str, summary: Summary) -> None:
    """The configs that skip one stage after the other."""
    values = {config.skip: config.metrics["perplexity"] for config in summary.configs}
    row = [skip for skip in values if "FT" not in skip]
    told = "  ".join(f"{skip} {values[skip]:.2f}" for skip in row)
    print(f"{what}: {told}  worst {max(values.values()):.2f}", flush=True)


if __name__ == "__main__":
    main()
