"""Small networks for tasks other than classification, made by name as recipes make them."""

from __future__ import annotations

import torch
from torch import nn


class Mixing(nn.Module):
    """Each token sees the mean of those up to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(2 * width, width)

    def forward(self, x):
        normed = self.norm(x)
        places = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return x + self.mix(torch.cat([normed, normed.cumsum(1) / places], -1)).relu()


class Talker(nn.Module):
    """A language model with an output by name."""

    def __init__(self, vocab_size: int, width: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size)
        self.blocks = nn.ModuleList(Mixing(width) for _ in range(depth))

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return {"logits": self.head(x)}


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


class Painter(nn.Module):
    """A segmenter that tells every second pixel."""

    def __init__(self, num_classes: int, width: int = 8, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, padding=1)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(depth)))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        return {"out": self.head(self.blocks(self.stem(x)))}


class Reader(nn.Module):
    """A classifier of texts that sees no padding."""

    def __init__(
        self, vocab_size: int, num_labels: int, pad_token_id: int, width: int = 16, depth: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width, padding_idx=pad_token_id)
        self.blocks = nn.ModuleList(Mixing(width) for _ in range(depth))
        self.head = nn.Linear(width, num_labels)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        kept = attention_mask[..., None]
        return {"logits": self.head((x * kept).sum(1) / kept.sum(1))}


class Doubter(Talker):
    """Decides by the values of its input, so it runs in place."""

    def forward(self, input_ids):
        if (input_ids < 0).any():
            raise ValueError("a token is a number from 0 on")
        return super().forward(input_ids)
