"""Where to cut: the last half of every stage, or the blocks that hurt least when skipped alone.

    python tests/benchmarks/fashion.py --images 12000 --epochs 16 --what "alone FFFF"
    python tests/benchmarks/where_to_cut.py [--networks vit mobilenet resnet] [--seeds 0 1 2]

For each trained original of fashion.py: the default cut, and one with at most as many multiply-adds
left whose blocks ``subpath.measure.sensitivity`` chose on 1,000 training images. Validation
top-1 of both base-nets in percent, skipped naively and after ``subpath.fit``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fashion import SHORT_LR, context_of, fit_to, fresh
from torch.nn import functional as F

import subpath
from subpath.errors import PlanError
from subpath.finetune.context import converted
from subpath.finetune.metrics import accuracies
from subpath.measure import sensitivity


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(SHORT_LR))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", type=Path, default=Path("runs/fashion"))
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--images", type=int, default=12000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        for seed in options.seeds:
            compare(name, seed, options)


def compare(name: str, seed: int, options: argparse.Namespace) -> None:
    """One network of one seed."""
    context = context_of(name, seed, "", options)
    network = fresh(context)
    path = options.weights / f"{name}-{seed}.pt"
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    example = context.task.example(2)
    batches = context.task.unaugmented_batches(125, 8, seed, context.place)
    found = sensitivity(network, batches, F.cross_entropy)
    refining = sum((block.first_order or 0) < 0 for block in found.blocks)
    print(f"{name} {seed}: {refining} of {len(found.blocks)} blocks refine", flush=True)
    default = converted(network, context)
    names = found.least_hurt(default.share_of_work("T" * len(default.stages)))
    chosen = with_blocks(network, example, names, context.recipe.convert.twin_norms)
    for what, model in (("last half", default), ("least hurt", chosen)):
        base = "T" * len(model.stages)
        skipped = sum(len(stage.skippable) for stage in model.stages)
        told = f"  {what}: {skipped} blocks skipped, {model.share_of_work(base):.1%} of the MACs"
        for fitted in (False, True):
            if fitted:
                fit_to(model, context, patches=True)
            top1 = accuracies(model, context.validation, context.processes, [base])[base]
            told += f", {'fitted' if fitted else 'naive'} {top1:.2f}"
        print(told, flush=True)


def with_blocks(network, example, names, twins) -> subpath.AdaptiveModel:
    """Cut so that these blocks are skipped; an isotropic network in one stage."""
    try:
        return subpath.convert(network, example, groups=1, blocks=names, twin_norms=twins)
    except PlanError:
        return subpath.convert(network, example, blocks=names, twin_norms=twins)


if __name__ == "__main__":
    main()
