"""The processes and devices of a run, through accelerate."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from ..errors import RecipeError


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        accelerator: accelerate's view of device, precision and processes.
        device: where this process computes.
        sharded: whether they share out the weights, so that every forward is one of all.
    """

    accelerator: Accelerator
    device: torch.device
    sharded: bool = False

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """How many processes there are."""
        return int(self.accelerator.num_processes)

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision, if the run has it."""
        context: AbstractContextManager[None] = self.accelerator.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Backpropagate; with fp16, a scaled loss."""
        self.accelerator.backward(loss)

    def broadcast(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in [*model.parameters(), *model.buffers()]:
                torch.distributed.broadcast(tensor.detach(), 0)

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.count > 1:
            torch.distributed.all_reduce(numbers)
        return numbers

    def minimum(self, numbers: Tensor) -> Tensor:
        """The smallest over the processes, element by element."""
        if self.count > 1:
            torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MIN)
        return numbers

    def most(self, number: int) -> int:
        """The greatest of the processes' numbers."""
        return -int(self.minimum(torch.tensor([-number], device=self.device)))

    def wait(self) -> None:
        """Wait for the other processes."""
        self.accelerator.wait_for_everyone()


def start_processes(
    device: str = "auto",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    shard: bool = False,
) -> Processes:
    """Join the other processes, if ``accelerate launch`` or ``torchrun`` started several.

    Args:
        device: ``auto``, or a device of torch; several processes share out the accelerators.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        shard: whether the weights are to be shared out.

    Raises:
        RecipeError: the device or the precision cannot be had here, or there is nobody to share
            with.
    """
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    # accelerate keeps one state for the whole process; a second run may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="no" if precision == "fp32" else precision
        )
        several = accelerator.num_processes > 1
        chosen = accelerator.device if device == "auto" or several else torch.device(device)
        torch.zeros((), device=chosen)
    except (ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise RecipeError(
            f"got device: {device} and precision: {precision}, which cannot be used here "
            f"({error}); expected auto, or a device of this machine, in a precision that it knows"
        ) from error
    if precision == "fp16" and chosen.type != "cuda":
        raise RecipeError(
            f"got precision: fp16 on {chosen.type}; expected CUDA, or bf16, which needs no scaled "
            "losses"
        )
    if shard and not several:
        raise RecipeError(
            "got shard: true and one process; expected several, each of which keeps a part of the "
            "weights: torchrun --nproc_per_node 2 --no-python subpath finetune RECIPE"
        )
    return Processes(accelerator, chosen, shard)


def end_processes() -> bool:
    """Leave the other processes; whether this was the first of them, or the only one."""
    if not torch.distributed.is_initialized():
        return True
    first = torch.distributed.get_rank() == 0
    torch.distributed.destroy_process_group()
    return first
