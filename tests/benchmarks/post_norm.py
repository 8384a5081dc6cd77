"""Post-norm blocks, ``norm(x + f(x))``: does their norm go with them, or stay?

    apt-get install dataset-fashion-mnist
    python tests/benchmarks/post_norm.py --seeds 0 1 2

A small post-norm transformer (eight blocks over 16 patches of Fashion-MNIST, 12,000 images) is
trained, then the last block of each pair is skipped in two ways: *whole*, so that the block hands
back what it is given, or *norm stays*, so that its norms run on what the block before has normed
already. Accuracy of the base-net on the test images: at once, and after one epoch of training
super-net and base-net together in two passes (labels and self-distillation), each way by itself.
"""

from __future__ import annotations

import argparse
import copy
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

FILES = Path("/usr/share/datasets/fashion-mnist")
SKIPPED = (1, 3, 5, 7)


class PostNorm(nn.Module):
    """A transformer whose blocks can be skipped in both ways."""

    def __init__(self, width: int = 64, depth: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, 7)
        self.positions = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor, skip: str = "") -> Tensor:
        x = self.patches(images).flatten(2).mT + self.positions
        for number, block in enumerate(self.blocks):
            if skip and number in SKIPPED:
                x = block.norm2(block.norm1(x)) if skip == "norm stays" else x
            else:
                x = block(x)
        logits: Tensor = self.head(x.mean(1))
        return logits


def load(kind: str, most: int) -> tuple[Tensor, Tensor]:
    def array(name: str, offset: int) -> Any:
        (path,) = FILES.rglob(f"{kind}-{name}*.gz")
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=offset)

    images = array("images", 16).reshape(-1, 1, 28, 28)[:most].astype(np.float32) / 255 - 0.5
    return torch.from_numpy(images), torch.from_numpy(array("labels", 8)[:most].astype(np.int64))


def accuracy(model: nn.Module, data: tuple[Tensor, Tensor], skip: str) -> float:
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(images, skip).argmax(1) for images in data[0].split(500)])
    return 100 * float((found == data[1]).float().mean())


def train(
    model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, rate: float, skip: str
) -> None:
    """Train the super-net; with ``skip``, the base-net too, from labels and from the super-net."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05)
    steps = epochs * (len(data[0]) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for _ in range(epochs):
        for batch in torch.randperm(len(data[0])).split(128)[: len(data[0]) // 128]:
            images, labels = data[0][batch], data[1][batch]
            logits = model(images)
            functional.cross_entropy(logits, labels).backward()
            if skip:
                base = model(images, skip)
                teacher = logits.detach().log_softmax(1)
                loss = functional.kl_div(
                    base.log_softmax(1), teacher, reduction="batchmean", log_target=True
                )
                (0.5 * loss + 0.5 * functional.cross_entropy(base, labels)).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    training, test = load("train", 12_000), load("t10k", 10_000)
    print(
        "seed  original  | at once: whole  norm stays "
        "| fine-tuned: whole (super)  norm stays (super)"
    )
    for seed in options.seeds:
        torch.manual_seed(seed)
        model = PostNorm()
        train(model, training, options.epochs, 1e-3, "")
        figures = [accuracy(model, test, skip) for skip in ("", "whole", "norm stays")]
        for skip in ("whole", "norm stays"):
            torch.manual_seed(seed + 100)
            tuned = copy.deepcopy(model)
            train(tuned, training, 1, 5e-4, skip)
            figures += [accuracy(tuned, test, skip), accuracy(tuned, test, "")]
        print(f"{seed:4}", *(f"{figure:7.2f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
