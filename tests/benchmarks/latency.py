"""Is a sub-network as fast as a network of its depth, and do predictions hold? On a quiet machine.

    python tests/benchmarks/latency.py [--network resnet50 vit_base] [--size 224] [--batch 1]
        [--threads 1] [--rounds 40] [--cpu-time]

For each network: the base-net, called through the adaptive model and as `model.subnet`, against a
network of that depth built by timm, in interleaved rounds (the aim is a ratio of at most 1.02);
then every config measured, beside what is predicted from the super-net and each stage skipped
alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import timm
import torch
from timm.models.resnet import Bottleneck, ResNet
from timm.models.vision_transformer import VisionTransformer

import subpath
from subpath.measure.latency import summarise
from subpath.measure.timing import interleave


def resnet50(size: int):
    """The original, and ResNet with the blocks that ``TTTT`` leaves of its [3, 4, 6, 3]."""
    return timm.create_model("resnet50"), ResNet(Bottleneck, (2, 2, 3, 2))


def vit_base(size: int):
    """The original, and a ViT-B/16 with the 8 of its 12 blocks that ``TTTT`` leaves."""
    return timm.create_model("vit_base_patch16_224", img_size=size), VisionTransformer(
        img_size=size, depth=8
    )


def vit_tiny(size: int):
    """The same for a ViT-Ti/16."""
    by_hand = VisionTransformer(img_size=size, embed_dim=192, num_heads=3, depth=8)
    return timm.create_model("vit_tiny_patch16_224", img_size=size), by_hand


CLOCKS = {True: time.process_time, False: time.perf_counter}
NETWORKS = {"resnet50": resnet50, "vit_base": vit_base, "vit_tiny": vit_tiny}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["resnet50", "vit_base"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="ratios of CPU time, which other processes do not add to (with one thread)",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for name in options.network:
        original, by_hand = NETWORKS[name](options.size)
        images = torch.randn(options.batch, 3, options.size, options.size)
        model = subpath.convert(original.eval(), images.expand(2, -1, -1, -1)[:2])
        against_by_hand(name, model, by_hand.eval(), images, options)
        predictions(model, images, options)


def against_by_hand(name, model, by_hand, images, options) -> None:
    sides = {
        "by hand": partial(by_hand, images),
        "skip='TTTT'": partial(model, images, skip="TTTT"),
        "subnet('TTTT')": partial(model.subnet("TTTT"), images),
        "by hand again": partial(by_hand, images),  # what noise alone makes of a ratio of 1
    }
    with torch.inference_mode():
        times = interleave(sides, options.rounds, clock=CLOCKS[options.cpu_time])
    print(
        f"{name}, {tuple(images.shape)}, {options.threads} threads, {options.rounds} rounds, "
        f"{'CPU' if options.cpu_time else 'wall'} time"
    )
    print(f"  by hand: {statistics.median(times['by hand']):.2f} ms")
    for side in list(sides)[1:]:
        ratios = [a / b for a, b in zip(times[side], times["by hand"], strict=True)]
        medians = statistics.median(times[side]) / statistics.median(times["by hand"])
        print(
            f"  {side:15} / by hand: {statistics.median(ratios):.3f} (median of the ratios), "
            f"{medians:.3f} (ratio of the medians), {min(times[side]) / min(times['by hand']):.3f} "
            "(of the shortest)"
        )


def predictions(model, images, options) -> None:
    sides = {skip: partial(model, images, skip=skip) for skip in model.skip_configs()}
    with torch.inference_mode():
        times = interleave(sides, options.rounds, clock=CLOCKS[options.cpu_time])
    table = summarise(model.skip_configs(), times, {})
    print("  config  measured, ms  predicted, ms   error   within what noise allows")
    for entry in table:
        line = f"  {entry.skip}  {entry.measured_ms:12.2f}"
        if entry.predicted_ms is not None:
            low, high = entry.predicted_interval_ms
            within = "yes" if low <= entry.measured_ms <= high else "no"
            line += f"  {entry.predicted_ms:13.2f}  {entry.prediction_error:+6.1%}   {within}"
        print(line)
    errors = [abs(entry.prediction_error) for entry in table if entry.predicted_ms is not None]
    print(f"  error: median {statistics.median(errors):.1%}, largest {max(errors):.1%}")


if __name__ == "__main__":
    main()
