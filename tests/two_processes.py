"""Run as a program: two processes share a step, an evaluation and a whole run.

    python two_processes.py OUT RECIPE.yaml ...

Process 0 writes what came out to OUT. Both are forked from here, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import subpath
from loops import Fixed, batches, network, phase, training_of
from subpath.distill import average_statistics
from subpath.finetune import Recipe, end_processes, finetune, read_recipe
from subpath.finetune.callback import NoCallback
from subpath.finetune.engine import train_epoch
from subpath.finetune.loss_meter import LossMeter
from subpath.finetune.metrics import accuracies
from subpath.finetune.phase import ClipSection
from subpath.finetune.processes import start_processes
from subpath.finetune.recipe import DistillSection
from subpath.finetune.tasks.precision import of_all
from subpath.finetune.training import Checkpointer

VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 4, "num_heads": 2}
NETWORKS = {"vit_tiny_patch16_224": VIT, "resnet18": {}}


def made(name):
    """The same in every process: an adaptive network, and two batches of eight."""
    torch.manual_seed(0)
    data = batches(2, size=8)
    return subpath.convert(network(name, **NETWORKS[name]), data[0][0]), data


def settings(name):
    """Batch norm sees each process's own batch, so clipping is left to the other network."""
    clip = ClipSection(mode="value", value=0.02) if name != "resnet18" else None
    return phase(epochs=1, clip=clip), DistillSection(random_pass=name != "resnet18")


class Stopped(Exception):
    pass


def stop_after_an_epoch(recipe: Recipe, folder: Path) -> None:
    """As if the run were killed there."""
    save = Checkpointer.save

    def last(keeper: Checkpointer, training: Any, epoch: int, *rest: Any) -> None:
        save(keeper, training, epoch, *rest)
        raise Stopped

    Checkpointer.save = last  # type: ignore[method-assign]
    try:
        finetune(recipe, folder)
    except Stopped:
        return
    finally:
        Checkpointer.save = save  # type: ignore[method-assign]
    raise AssertionError("the run was not stopped")


def share(rank: int, out: Path, recipes: list[Path]) -> None:
    processes = start_processes("cpu")
    assert (processes.rank, processes.count) == (rank, 2)
    losses = {}
    for name in NETWORKS:
        model, data = made(name)
        if rank:  # the first process's weights count
            torch.nn.init.ones_(next(model.parameters()))
        processes.broadcast(model)
        mine = [(x[4 * rank : 4 * rank + 4], y[4 * rank : 4 * rank + 4]) for x, y in data]
        training = training_of(model, *settings(name)[:1], mine, settings(name)[1], processes)
        result = train_epoch(training, 0, LossMeter(processes.device), NoCallback())
        average_statistics(model)
        losses[name] = result.loss
        if rank == 0:
            save_file(model.state_dict(), out / f"{name}.safetensors")
    seven = [(x[rank:7:2], y[rank:7:2]) for x, y in data]
    top1 = accuracies(model, Fixed(seven).epoch(0), processes, model.skip_configs())
    rows = of_all(torch.arange(6.0).view(3, 2)[rank:] + 10 * rank, processes)
    for path in recipes:
        recipe, folder = read_recipe(path), out / path.stem
        if path.stem == "resumed":
            stop_after_an_epoch(recipe, folder)
        finetune(recipe, folder, resume=path.stem == "resumed")
    if rank == 0:
        (out / "numbers.json").write_text(
            json.dumps({"losses": losses, "top1": top1, "rows": rows.tolist()})
        )
    assert end_processes() == (rank == 0)
    assert not torch.distributed.is_initialized()
    assert end_processes()  # alone


def main() -> int:
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    children = []
    for rank in (0, 1):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            share(rank, Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
            os._exit(0)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
