"""Several processes that train one model: means over them, once an update.

Both passes of a step run on the plain module of each process. The sum of their gradients is
averaged before the optimiser's step, so it does not matter that the skippable weights take part in
the first pass alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

# Tensors are sent in pieces of this many numbers, to bound the memory of a copy.
PIECE = 2**25


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes of ``torch.distributed``.

    Call it after the last batch of an update, instead of a data-parallel wrapper. Alone, it does
    nothing. Gradients of weights that are shared out (``fully_shard``) are such means already.
    """
    if _alone():
        return
    from torch.distributed.tensor import DTensor

    found = [p.grad for p in parameters if p.grad is not None]
    _average([gradient for gradient in found if not isinstance(gradient, DTensor)])


def average_statistics(model: nn.Module) -> None:
    """Replace running means and variances by their means over the processes."""
    names = ("running_mean", "running_var")
    _average([b for name, b in model.named_buffers() if name.rpartition(".")[2] in names])


def _alone() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1


def _average(tensors: Sequence[Tensor]) -> None:
    if _alone():
        return
    piece: list[Tensor] = []
    for tensor in tensors:
        piece.append(tensor)
        if sum(t.numel() for t in piece) >= PIECE:
            _average_piece(piece)
            piece = []
    if piece:
        _average_piece(piece)


def _average_piece(tensors: Sequence[Tensor]) -> None:
    joined = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(joined)
    joined /= torch.distributed.get_world_size()
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, mean in zip(tensors, joined.split(sizes), strict=True):
        tensor.detach().copy_(mean.view(tensor.shape))
