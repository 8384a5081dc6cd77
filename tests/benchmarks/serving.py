"""What switching depth is for: requests with deadlines, and a cascade. Fashion-MNIST; run by hand.

    python tests/benchmarks/fashion.py --images 12000 --epochs 16 --what "alone FFFF" --seeds 0
    OMP_NUM_THREADS=1 python tests/benchmarks/serving.py [--networks resnet vit mobilenet]
        [--requests 1500] [--share 0.1] [--weights runs/fashion]

The trained original is kept as it is; twins and patches are fitted and trained (``frozen`` of
fashion.py). One half of the held-back images gives accuracies and thresholds, the other judges.

*Deadlines*: requests for one image arrive by a Poisson process, and one worker serves them in
order. Each has a deadline of so many times the super-net's time. The clock is simulated, and moves
by the CPU time that each real call takes. Three policies: the super-net, the base-net, and
``choose(max_latency_ms=what is left)``. All drop a request that they cannot begin in time.

*Cascade*: the base-net answers; where its confidence is below a threshold, the super-net does.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fashion
import torch
from torch import Tensor

import subpath
from subpath.choice import Conditions, MeasuredConfig, MeasuredTable
from subpath.errors import ChoiceError
from subpath.measure import count_macs
from subpath.measure.timing import interleave

LOADS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
PASSED_ON = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 1.0)
Policy = Callable[[float], str | None]


@dataclass(frozen=True)
class Images:
    """Images with their classes."""

    images: Tensor
    targets: Tensor


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(fashion.SHORT_LR))
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--deadline", type=float, default=3.0, help="in super-nets")
    parser.add_argument("--share", type=float, default=0.1, help="of the training's cost")
    parser.add_argument("--weights", type=Path, default=Path("runs/fashion"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        model, tuning, judging = trained(name, options)
        table = measured(model, tuning)
        print(f"\n## {name}, torch {torch.__version__}, one thread\n")
        for config in table.configs:
            print(f"{config.skip} {config.latency_ms:.3f} ms {config.top1:.2f} %")
        deadlines(model, table, judging, options)
        cascade(model, tuning, judging)


def trained(name: str, options: argparse.Namespace) -> tuple[subpath.AdaptiveModel, Images, Images]:
    """The adaptive model, and the two halves of the held-back images."""
    extra = ["--images", "12000", "--epochs", "16", "--weights", str(options.weights)]
    arguments = fashion.parser().parse_args(extra)
    scene = fashion.scene_of(name, 0, "", arguments)
    network = fashion.fresh(scene)
    saved = torch.load(options.weights / f"{name}-0.pt", weights_only=True)
    network.load_state_dict(saved)
    model = fashion.converted(network, scene)
    fashion.fit_to(model, scene, patches=True)
    epochs = arguments.epochs
    model = fashion.train_frozen(
        model, fashion.with_labels(scene), epochs, options.share, arguments
    ).eval()
    images, targets = (torch.cat(part) for part in zip(*scene.held_back, strict=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    half = len(images) // 2
    return model, *(Images(images[i], targets[i]) for i in (order[:half], order[half:]))


def measured(model: subpath.AdaptiveModel, tuning: Images) -> MeasuredTable:
    """Accuracies, and the CPU time that 19 of 20 calls with one image stay below."""
    skips = [str(skip) for skip in model.skip_configs()]
    image = tuning.images[:1]
    sides = {skip: lambda skip=skip: model(image, skip=skip) for skip in skips}
    with torch.inference_mode():
        times = interleave(sides, 100, clock=time.process_time)
    macs = count_macs(model, image, skips=skips)
    configs = tuple(
        MeasuredConfig(
            macs[skip].skip,
            macs[skip].gmacs,
            sorted(times[skip])[94],
            "measured",
            100 * right(logits(model, tuning, skip), tuning).mean().item(),
        )
        for skip in skips
    )
    here = Conditions("this CPU", 1, "fp32", 1, f"torch {torch.__version__}, CPU time")
    return MeasuredTable(configs, here)


@torch.inference_mode()
def logits(model: subpath.AdaptiveModel, data: Images, skip: str) -> Tensor:
    """What a config answers to all images."""
    return torch.cat([model(part, skip=skip) for part in data.images.split(250)])


def right(answers: Tensor, data: Images) -> Tensor:
    """1 where the answer is right, else 0."""
    return (answers.argmax(1) == data.targets).double()


def deadlines(
    model: subpath.AdaptiveModel,
    table: MeasuredTable,
    judging: Images,
    options: argparse.Namespace,
) -> None:
    """Print how many deadlines each policy meets, and how many answers are right in time."""
    whole, *_, base = (str(skip) for skip in model.skip_configs())

    def always(skip: str) -> Policy:
        return lambda left: skip if table[skip].latency_ms <= left else None

    def fitting(left: float) -> str | None:
        try:
            return table.choose(max_latency_ms=left) if left > 0 else None
        except ChoiceError:
            return None

    policies = {"super-net": always(whole), "base-net": always(base), "choose": fitting}
    service = table[whole].latency_ms
    print("\n| load | policy | in time | accuracy of those | right and in time |")
    print("|---|---|---|---|---|")
    for load in LOADS:
        for name, policy in policies.items():
            arrivals = list(poisson(service / load, options.requests))
            met, good = serve(model, policy, arrivals, options.deadline * service, judging)
            share, hits = met / len(arrivals), good / len(arrivals)
            print(f"| {load} | {name} | {share:.1%} | {good / max(met, 1):.1%} | {hits:.1%} |")


def poisson(gap: float, count: int) -> Iterator[float]:
    """Times of arrival in milliseconds, the same every time."""
    source, now = random.Random(0), 0.0
    for _ in range(count):
        now += source.expovariate(1 / gap)
        yield now


@torch.inference_mode()
def serve(
    model: subpath.AdaptiveModel,
    policy: Policy,
    arrivals: list[float],
    deadline: float,
    data: Images,
) -> tuple[int, int]:
    """How many requests were answered in time, and how many of these rightly."""
    now, met, good = 0.0, 0, 0
    waiting = deque(enumerate(arrivals))
    while waiting:
        number, arrival = waiting.popleft()
        now = max(now, arrival)
        start = time.process_time()
        skip = policy(arrival + deadline - now)
        if skip is not None:
            place = number % len(data.images)
            answer = model(data.images[place : place + 1], skip=skip).argmax()
            now += (time.process_time() - start) * 1e3
            in_time = now <= arrival + deadline
            met += in_time
            good += in_time and bool(answer == data.targets[place])
    return met, good


def cascade(model: subpath.AdaptiveModel, tuning: Images, judging: Images) -> None:
    """Print accuracy against multiply-adds for thresholds that pass on so many tuning images."""
    whole, *_, base = (str(skip) for skip in model.skip_configs())
    macs = count_macs(model, tuning.images[:1], skips=[whole, base])
    known = logits(model, tuning, base).softmax(1).amax(1)
    first, second = (logits(model, judging, skip) for skip in (base, whole))
    confidence = first.softmax(1).amax(1)
    print("\n| passed on while tuning | passed on | mean MACs / super-net | accuracy |")
    print("|---|---|---|---|")
    for share in PASSED_ON:
        threshold = known.quantile(share) if 0 < share < 1 else torch.tensor(2.0 * share)
        passed = confidence < threshold
        answers = torch.where(passed[:, None], second, first)
        asked = passed.double().mean().item()
        cost = macs[base].gmacs / macs[whole].gmacs + asked
        accuracy = right(answers, judging).mean().item()
        print(f"| {share:.0%} | {asked:.1%} | {cost:.3f} | {accuracy:.2%} |")
    print(f"the super-net alone: 1.000, {right(second, judging).mean().item():.2%}")


if __name__ == "__main__":
    main()
