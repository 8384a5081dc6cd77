"""Many threads call one model with different configs: run by hand.

    python tests/benchmarks/threads.py [--model resnet18] [--size 64] [--threads 16] [--seconds 60]

Every answer is compared, bit for bit, with that of a copy that one thread used alone before. Half
of the calls name their config, half run under ``using``; every other second a copy without any code
is taken into use by all threads at once. Prints how many answers were compared; the first wrong one
ends the run.
"""

from __future__ import annotations

import argparse
import copy
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import timm
import torch

import subpath


def main() -> None:
    """Call, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--renew", type=float, default=2, help="seconds between fresh copies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = (options.size, options.size + 32)
    inputs = [torch.randn(2, 3, size, size) for size in sizes]
    original = timm.create_model(options.model).eval()
    with torch.no_grad():
        for parameter in original.parameters():
            if parameter.abs().max() < 1e-2:  # at zero, a skipped block would change nothing
                parameter.add_(0.2 * torch.rand_like(parameter))
    model = subpath.convert(original, inputs[0])
    alone = copy.deepcopy(model)
    with torch.inference_mode():
        expected = [(s, x, alone(x, skip=s)) for s in alone.skip_configs() for x in inputs]
    assert len({answer.sum().item() for _, _, answer in expected}) == len(expected)
    used = {"model": copy.deepcopy(model)}
    end = time.monotonic() + options.seconds
    stop = threading.Event()

    def call(number: int) -> int:
        draw, count = random.Random(number), 0
        with torch.inference_mode():
            while time.monotonic() < end and not stop.is_set():
                skip, x, answer = draw.choice(expected)
                current = used["model"]
                if draw.random() < 0.5:
                    got = current(x, skip=skip)
                else:
                    with current.using(skip):
                        got = current(x)
                if not torch.equal(got, answer):
                    stop.set()
                    raise SystemExit(f"wrong answer for {skip} at {tuple(x.shape)}")
                count += 1
        return count

    with ThreadPoolExecutor(options.threads) as pool:
        counts = [pool.submit(call, number) for number in range(options.threads)]
        renewed = 0
        while time.monotonic() < end and not stop.is_set():
            time.sleep(options.renew)
            used["model"] = copy.deepcopy(model)
            renewed += 1
        total = sum(count.result() for count in counts)
    print(
        f"{options.model}, {options.threads} threads, {options.seconds:.0f} s, "
        f"{len(expected)} pairs of config and shape, {renewed} fresh copies: "
        f"{total} answers, all equal bit for bit"
    )


if __name__ == "__main__":
    main()
