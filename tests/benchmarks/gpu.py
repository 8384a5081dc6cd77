"""What no CPU can tell, in one run of under six minutes on one GPU; prints a table and JSON.

    python tests/benchmarks/gpu.py [--device cuda] [--json gpu.json] [--minutes 5.5]
    python tests/benchmarks/gpu.py --device cpu --quick

In this order, so that what matters most is there if time runs out: the promises in fp32, bf16, fp16
autocast and channels last; all configs under ``torch.compile``, each compiled once; the two-pass
step against a plain one, and its memory; the fine-tune engine with fp16 and pinned memory, stopped
and resumed; latency of all configs, eager, in CUDA graphs and compiled. What the device cannot do,
or no time is left for, is a row that says so. The status is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

import subpath
from subpath.distill import two_pass_step
from subpath.finetune import check_recipe, finetune
from subpath.finetune.callback import NoCallback
from subpath.measure.device import device_name
from subpath.measure.timing import interleave

NETWORKS: dict[str, dict[str, Any]] = {
    "resnet50": {},
    "convnext_tiny": {},
    "swin_tiny_patch4_window7_224": {},
    "vit_base_patch16_224": {},
}
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"channels": [8, 8, 8, 8]},
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4},
}


@dataclass
class Run:
    """What is measured with, and what was found."""

    device: torch.device
    quick: bool
    until: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        return SMALL if self.quick else NETWORKS

    @property
    def size(self) -> int:
        return 32 if self.quick else 224

    def add(self, part: str, subject: str, what: str, value: Any) -> None:
        """One row; a check is a row whose value is true or false."""
        self.rows.append({"part": part, "subject": subject, "what": what, "value": value})

    def network(self, name: str) -> nn.Module:
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=10, **self.networks[name]).to(self.device)

    def images(self, batch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(batch)
        return torch.randn(batch, 3, self.size, self.size, generator=generator).to(self.device)

    def finish(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)


def promises(run: Run) -> None:
    """Are the promises kept in each precision and memory format?"""
    for name in run.networks:
        for how in ("fp32", "bf16", "fp16 autocast", "channels last"):
            model, images = run.network(name), run.images(4)
            if how == "fp16 autocast" and not run.cuda:
                run.add("promises", name, how, "not run: needs CUDA")
                continue
            if how == "bf16":
                model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
            elif how == "channels last":
                model = model.to(memory_format=torch.channels_last)
                images = images.to(memory_format=torch.channels_last)
            adaptive = subpath.convert(model, images)
            scope = torch.autocast("cuda", torch.float16) if "fp16" in how else nullcontext()
            with scope:
                kept = dict(_promises(model, adaptive, images))
            for what, value in kept.items():
                run.add("promises", name, f"{how}: {what}", value)


def _promises(
    model: nn.Module, adaptive: subpath.AdaptiveModel, images: torch.Tensor
) -> Iterator[tuple[str, bool]]:
    model.eval(), adaptive.eval()
    base = str(adaptive.skip_configs()[-1])
    with torch.no_grad():
        yield "super-net is the original", torch.equal(adaptive(images), model(images))
        own = adaptive.subnet(base)(images)
        yield "base-net is its sub-network", torch.equal(adaptive(images, skip=base), own)
        calls = []
        blocks = [path for stage in adaptive.stages for path in stage.skippable]
        leaves = [m for p in blocks for m in adaptive.get_submodule(p).modules() if _runs(m)]
        hooks = [m.register_forward_hook(lambda m, *_: calls.append(m)) for m in leaves]
        adaptive(images, skip=base)
        skipped = not calls
        adaptive(images)
        yield "skipped blocks do not run", skipped and bool(calls)
        for hook in hooks:
            hook.remove()
    state = adaptive.state_dict()
    yield "keys and values stay", all(torch.equal(state[k], v) for k, v in _state(model))
    original, converted = _gradients(model, images), _gradients(adaptive, images)
    same = [torch.equal(converted[name], value) for name, value in original.items()]
    yield "a train step is the original's", all(same)
    found = _gradients(adaptive, images, skip=base)
    yield "the base-net trains", all(bool(g.isfinite().all()) for g in found.values())


def _runs(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear))


def _state(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return list(model.state_dict().items())


def _gradients(model: nn.Module, images: torch.Tensor, **how: Any) -> dict[str, torch.Tensor]:
    model = copy.deepcopy(model).train()
    torch.manual_seed(1)
    model(images, **how).float().square().mean().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def compiling(run: Run) -> None:
    """Is every config compiled once, whatever order they are asked for in?"""
    name = list(run.networks)[-1 if run.quick else 0]
    model, images, seen = run.network(name).eval(), run.images(2), []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        seen.append(graph)
        return graph.forward

    adaptive = subpath.convert(model, images)
    torch._dynamo.reset()
    compiled, configs = torch.compile(adaptive, backend=backend), adaptive.skip_configs()
    with torch.no_grad():
        for skip in (*configs, *reversed(configs)):
            compiled(images, skip=str(skip))
    run.add("compile", name, "each config compiled once", len(seen) == len(configs))
    torch._dynamo.reset()


def step(run: Run) -> None:
    """The two-pass step against a plain one: time and the most memory."""
    batch = 4 if run.quick else 64
    for name in run.networks:
        sides: dict[str, Callable[[], object]] = {}
        images, targets = run.images(batch), torch.arange(batch, device=run.device) % 10
        adaptive = subpath.convert(run.network(name), images[:2]).train()
        share = adaptive.share_of_work(str(adaptive.skip_configs()[-1]))
        for side, model in (("plain", run.network(name).train()), ("two passes", adaptive)):
            sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
            sides[side] = partial(_step, side, model, sgd, images, targets)
        rounds = 2 if run.quick else 10
        times = interleave(sides, rounds, finish=run.finish)
        pairs = zip(times["two passes"], times["plain"], strict=True)
        run.add("step", name, "plain, ms", round(statistics.median(times["plain"]), 2))
        run.add("step", name, "two / plain", round(statistics.median(a / b for a, b in pairs), 3))
        run.add("step", name, "1 + base / super by MACs", round(1 + share, 3))
        for side, call in sides.items() if run.cuda else ():
            torch.cuda.reset_peak_memory_stats(run.device)
            before = torch.cuda.memory_allocated(run.device)
            call()
            peak = torch.cuda.max_memory_allocated(run.device) - before
            run.add("step", name, f"{side}: memory beyond what was held, MiB", peak >> 20)


def _step(
    side: str,
    model: Any,
    sgd: torch.optim.Optimizer,
    images: torch.Tensor,
    targets: torch.Tensor,
) -> None:
    sgd.zero_grad()
    if side == "plain":
        F.cross_entropy(model(images), targets).backward()
    else:
        two_pass_step(model, images, targets, F.cross_entropy)
    sgd.step()


class Stop(NoCallback):
    """Ends a run in its middle."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def batch(self, loss: Any, learning_rate: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def engine(run: Run) -> None:
    """The fine-tune engine with fp16, and whether a stopped run ends where another one does."""
    updates, batch = (6, 4) if run.quick else (150, 32)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _pictures(folder / "images", updates * batch, run.size)
        recipe = check_recipe(
            {
                "name": "engine",
                "device": str(run.device),
                "precision": "fp16" if run.cuda else "fp32",
                "channels_last": True,
                "sync_batch_norm": run.cuda,
                "save_every": max(1, updates // 3),
                "model": {"name": "resnet18", "arguments": {"channels": [16, 32, 64, 128]}},
                "data": {
                    "name": "folder",
                    "root": str(folder / "images"),
                    "validation_share": 0.2,
                    "input_size": [3, run.size, run.size],
                    "workers": 0 if run.quick else 8,
                },
                "finetune": {"epochs": 1, "batch_size": batch},
            }
        )
        start = time.perf_counter()
        finetune(recipe, folder / "whole")
        run.add("engine", "resnet18", "seconds", round(time.perf_counter() - start, 1))
        try:
            finetune(recipe, folder / "stopped", callback=Stop(updates // 2))
        except KeyboardInterrupt:
            finetune(recipe, folder / "stopped", resume=True)
        one, other = (subpath.load(folder / name).state_dict() for name in ("whole", "stopped"))
        finite = all(bool(v.isfinite().all()) for v in one.values() if v.is_floating_point())
        run.add("engine", "resnet18", "weights are numbers", finite)
        apart = max(float((v.double() - other[k].double()).abs().max()) for k, v in one.items())
        run.add("engine", "resnet18", "stopped run, largest difference", apart)
        if not run.cuda:
            run.add("engine", "resnet18", "stopped run equals the other", apart == 0)


def _pictures(folder: Path, count: int, size: int) -> None:
    values = torch.Generator().manual_seed(0)
    for number in range(count * 5 // 4):  # a fifth is held back
        place = folder / f"class{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        picture = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8, generator=values)
        Image.fromarray(picture.numpy()).save(place / f"{number}.bmp")


def latency(run: Run) -> None:
    """Latency of all configs against their multiply-adds: eager, in CUDA graphs and compiled."""
    for name in run.networks:
        model = run.network(name).eval()
        adaptive = subpath.convert(model, run.images(2))
        ratios = {row.skip: row.ratio for row in subpath.measure.count_macs(adaptive).configs}
        for batch in (1, 2) if run.quick else (1, 32, 256):
            if time.monotonic() > run.until:
                run.add("latency", name, f"batch {batch}", "not run: no time left")
                continue
            images = run.images(batch)
            sides: dict[str, Callable[[], object]] = {"original": lambda m=model, i=images: m(i)}
            sides |= {c: lambda c=c, m=adaptive, i=images: m(i, skip=c) for c in ratios}
            _time(run, name, f"eager, batch {batch}", sides, ratios)
            if run.cuda:
                graphs = {c: _graph(adaptive.subnet(c), images) for c in ratios}
                _time(run, name, f"CUDA graphs, batch {batch}", graphs, ratios)
            else:
                run.add("latency", name, f"CUDA graphs, batch {batch}", "not run: needs CUDA")
    for name in run.networks:
        adaptive = subpath.convert(run.network(name).eval(), run.images(2))
        few = adaptive.skip_configs()[:: len(adaptive.skip_configs()) - 1]
        ratios = {str(c): adaptive.share_of_work(c) for c in few}
        if time.monotonic() > run.until or run.quick:
            run.add("latency", name, "compiled", "not run: no time left, or --quick")
            continue
        compiled, images = torch.compile(adaptive), run.images(32)
        sides = {c: lambda c=c, m=compiled, i=images: m(i, skip=c) for c in ratios}
        _time(run, name, "compiled, batch 32", sides, ratios)


def _graph(subnet: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            subnet(images)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        subnet(images)
    return graph.replay


def _time(
    run: Run,
    name: str,
    how: str,
    sides: dict[str, Callable[[], object]],
    ratios: dict[str, float],
) -> None:
    with torch.inference_mode():
        times = interleave(sides, 3 if run.quick else 10, finish=run.finish)
    whole = next(iter(ratios))
    if "original" in times:
        pairs = zip(times[whole], times["original"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        run.add("latency", name, f"{how}: super-net / original", round(ratio, 3))
    run.add("latency", name, f"{how}: {whole}, ms", round(statistics.median(times[whole]), 3))
    for config, macs in ratios.items():
        pairs = zip(times[config], times[whole], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        value = f"{ratio:.3f} at {macs:.3f} of the MACs"
        run.add("latency", name, f"{how}: {config} / super-net", value)


PARTS = (promises, compiling, step, engine, latency)


def main() -> None:
    """Run every part and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small networks, few rounds")
    parser.add_argument("--minutes", type=float, default=5.5)
    parser.add_argument("--json", type=Path, help="write the rows here; default: print them")
    options = parser.parse_args()
    begin = time.monotonic()
    run = Run(torch.device(options.device), options.quick, begin + 60 * options.minutes)
    for part in PARTS:
        name, start = part.__name__, time.monotonic()
        if start > run.until:
            run.add(name, "", "", "not run: no time left")
            continue
        try:
            part(run)
        except Exception as error:  # the other parts are still worth their time
            run.add(name, "", f"{type(error).__name__}: {error}", False)
        run.add(name, "", "seconds of this part", round(time.monotonic() - start, 1))
    head = Head(device_name(run.device), torch.__version__, timm.__version__, options.quick)
    written = json.dumps({**asdict(head), "rows": run.rows}, indent=1)
    table = Table("part", "network", "what", "value", title=f"{head.device}, torch {head.torch}")
    for row in run.rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(written)
    else:
        print(written)
    sys.exit(any(row["value"] is False for row in run.rows))


@dataclass(frozen=True)
class Head:
    """What it was measured with."""

    device: str
    torch: str
    timm: str
    quick: bool


if __name__ == "__main__":
    main()
