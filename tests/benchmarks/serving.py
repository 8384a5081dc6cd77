"""What switching depth is for: requests with deadlines, and a cascade. Fashion-MNIST; run by hand.

    python tests/benchmarks/fashion.py --images 12000 --epochs 16 --what "alone FFFF" --seeds 0
    OMP_NUM_THREADS=1 python tests/benchmarks/serving.py [--networks resnet vit mobilenet]
        [--requests 20000] [--share 0.1] [--weights runs/fashion]

The trained original is kept as it is; twins and patches are fitted and trained (``frozen`` of
fashion.py). One half of the validation images gives accuracies and thresholds, the other judges.

*Deadlines*: requests for one image arrive by a Poisson process, and one worker serves them in
order. Each has a deadline of so many times the super-net's time. The arrivals are simulated; the
time of each call is one of 300 that were measured of its config (CPU time, interleaved rounds).
Policies: the super-net, the base-net, ``choose(max_latency_ms=what is left)``, and ``choose`` with
a fair share of what is left: the first of ``n`` who wait gets no more than an ``n``-th of the last
one's time. All drop a request that they cannot begin in time.

*Cascade*: the base-net answers; where its confidence is below a threshold, the super-net does.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
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
ROUNDS = 300
Policy = Callable[[Sequence[float]], str | None]


@dataclass(frozen=True)
class Images:
    """Images with their classes."""

    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Served:
    """A network in service.

    Attributes:
        table: what it chooses by.
        times: of single calls of each config, in milliseconds, measured in the same rounds.
        right: whether each config tells each image right.
    """

    table: MeasuredTable
    times: dict[str, list[float]]
    right: dict[str, list[bool]]


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(fashion.SHORT_LR))
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--deadline", type=float, default=3.0, help="in super-nets")
    parser.add_argument("--share", type=float, default=0.1, help="of the training's cost")
    parser.add_argument("--weights", type=Path, default=Path("runs/fashion"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        model, tuning, judging = trained(name, options)
        served = measured(model, tuning, judging)
        print(f"\n## {name}, torch {torch.__version__}, one thread\n")
        for config in served.table.configs:
            print(f"{config.skip} {config.latency_ms:.3f} ms {config.top1:.2f} %")
        deadlines(served, options.requests, options.deadline)
        cascade(model, tuning, judging)


def trained(name: str, options: argparse.Namespace) -> tuple[subpath.AdaptiveModel, Images, Images]:
    """The adaptive model, and the two halves of the validation images."""
    extra = ["--images", "12000", "--epochs", "16", "--weights", str(options.weights)]
    arguments = fashion.parser().parse_args(extra)
    context = fashion.context_of(name, 0, "", arguments)
    network = fashion.fresh(context)
    saved = torch.load(options.weights / f"{name}-0.pt", weights_only=True)
    network.load_state_dict(saved)
    model = fashion.converted(network, context)
    fashion.fit_to(model, context, patches=True)
    epochs = arguments.epochs
    model = fashion.train_frozen(
        model, fashion.with_labels(context), epochs, options.share, arguments
    ).eval()
    images, targets = (torch.cat(part) for part in zip(*context.validation, strict=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    half = len(images) // 2
    return model, *(Images(images[i], targets[i]) for i in (order[:half], order[half:]))


def measured(model: subpath.AdaptiveModel, tuning: Images, judging: Images) -> Served:
    """Accuracies on one half, right answers on the other, and times of calls with one image.

    The table's time of a config is what 19 of 20 of its calls stay below.
    """
    skips = [str(skip) for skip in model.skip_configs()]
    image = tuning.images[:1]
    sides = {skip: lambda skip=skip: model(image, skip=skip) for skip in skips}
    with torch.inference_mode():
        times = interleave(sides, ROUNDS, clock=time.process_time)
    macs = count_macs(model, image, skips=skips)
    configs = tuple(
        MeasuredConfig(
            macs[skip].skip,
            macs[skip].gmacs,
            sorted(times[skip])[ROUNDS * 19 // 20],
            "measured",
            100 * right(logits(model, tuning, skip), tuning).mean().item(),
        )
        for skip in skips
    )
    here = Conditions("this CPU", 1, "fp32", 1, f"torch {torch.__version__}, CPU time")
    good = {skip: right(logits(model, judging, skip), judging).bool().tolist() for skip in skips}
    return Served(MeasuredTable(configs, here), times, good)


@torch.inference_mode()
def logits(model: subpath.AdaptiveModel, data: Images, skip: str) -> Tensor:
    """What a config answers to all images."""
    return torch.cat([model(part, skip=skip) for part in data.images.split(250)])


def right(answers: Tensor, data: Images) -> Tensor:
    """1 where the answer is right, else 0."""
    return (answers.argmax(1) == data.targets).double()


def deadlines(served: Served, requests: int, deadline: float) -> None:
    """Print how many deadlines each policy meets, and how many answers are right in time."""
    table, (whole, *_, base) = served.table, list(served.times)
    ms = {skip: table[skip].latency_ms for skip in served.times}

    def always(skip: str) -> Policy:
        return lambda left: skip if ms[skip] <= left[0] else None

    def fitting(budget: Callable[[Sequence[float]], float]) -> Policy:
        def policy(left: Sequence[float]) -> str | None:
            try:
                return table.choose(max_latency_ms=budget(left)) if ms[base] <= left[0] else None
            except ChoiceError:
                return base

        return policy

    policies = {
        "super-net": always(whole),
        "base-net": always(base),
        "choose, what is left": fitting(lambda left: left[0]),
        "choose, a fair share": fitting(lambda left: min(t / n for n, t in enumerate(left, 1))),
    }
    service = statistics.mean(served.times[whole])
    print("\n| load | policy | in time | right, of those | right and in time |")
    print("|---|---|---|---|---|")
    for load in LOADS:
        arrivals = list(poisson(service / load, requests))
        for name, policy in policies.items():
            met, good = serve(served, policy, arrivals, deadline * service)
            share, hits = met / requests, good / requests
            print(f"| {load} | {name} | {share:.1%} | {good / max(met, 1):.1%} | {hits:.1%} |")


def poisson(gap: float, count: int) -> Iterator[float]:
    """Times of arrival in milliseconds, the same every time."""
    source, now = random.Random(0), 0.0
    for _ in range(count):
        now += source.expovariate(1 / gap)
        yield now


def serve(
    served: Served, policy: Policy, arrivals: Sequence[float], deadline: float
) -> tuple[int, int]:
    """How many requests were answered in time, and how many of these rightly."""
    now, met, good, source = 0.0, 0, 0, random.Random(1)
    for number, arrival in enumerate(arrivals):
        now = max(now, arrival)
        waiting = bisect_right(arrivals, now)
        drawn = source.randrange(ROUNDS)
        skip = policy([time + deadline - now for time in arrivals[number:waiting]])
        if skip is not None:
            now += served.times[skip][drawn]
            in_time = now <= arrival + deadline
            met += in_time
            good += in_time and served.right[skip][number % len(served.right[skip])]
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
