"""Run as a program, by each of two processes: they share a training in Lightning.

RANK=0 ... python two_lightnings.py OUT
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import lightning
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import subpath
from small_networks import Talker
from subpath.distill import Classes, Outputs
from subpath.integrations.lightning import TwoPassModule

OUTPUTS = Outputs({"logits": Classes(dim=-1)})


def next_token(output, ids):
    return F.cross_entropy(output["logits"][:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def adaptive():
    torch.manual_seed(0)
    return subpath.convert(Talker(20), torch.zeros(2, 6, dtype=torch.int64))


def sentences(count):
    ids = torch.randint(20, (count, 6), generator=torch.Generator().manual_seed(1))
    return TensorDataset(ids, ids)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def trainer(folder, **how):
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **how,
    )


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    module = TwoPassModule(adaptive(), next_token, sgd, outputs=OUTPUTS, base_task=0.5)
    data, rank = sentences(8), int(os.environ["RANK"])
    sampler = DistributedSampler(data, 2, rank, shuffle=False)
    loader = DataLoader(data, batch_size=2, sampler=sampler)
    how = {"devices": 2, "strategy": "ddp", "use_distributed_sampler": False}
    trainer(out, **how).fit(module, loader)
    if rank == 0:
        save_file(dict(module.model.state_dict()), out / "weights.safetensors")


if __name__ == "__main__":
    main()
