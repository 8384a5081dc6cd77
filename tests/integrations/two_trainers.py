"""Run as a program: two processes share the training of each model.

    python two_trainers.py OUT

Process 0 writes weights and metrics to OUT. Both are forked from here, so that torch is imported
once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from integrations.trainers import language, sentences, sentiment, trainer

LENGTHS = [10, 3, 7, 2, 9, 4, 5, 6]


def data(name: str) -> list[dict[str, torch.Tensor]]:
    items = sentences(LENGTHS)
    if name == "language":
        return items
    return [{**item, "labels": torch.tensor(n % 3)} for n, item in enumerate(items)]


MODELS = {"language": language, "sentiment": sentiment}


def share(rank: int, out: Path) -> None:
    found = {}
    for name, make in MODELS.items():
        model = make()
        if rank:  # the first process's weights count
            torch.nn.init.ones_(next(model.parameters()))
        made = trainer(
            model,
            data(name),
            out,
            batch=2,
            gradient_accumulation_steps=2,
            per_device_eval_batch_size=1,
        )
        assert made.accelerator.num_processes == 2
        made.train()
        found[name] = made.evaluate()
        if rank == 0:
            weights = {key: value.clone() for key, value in model.state_dict().items()}
            save_file(weights, out / f"{name}.safetensors")
    if rank == 0:
        (out / "metrics.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


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
            share(rank, Path(sys.argv[1]))
            os._exit(0)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
