"""Small models that bring out what the TensorRT targets have to get right."""

from __future__ import annotations

import torch
from torch import nn

from edgeopt.ops.linear_attention import linear_attention


class Mlp(nn.Module):
    """Two linears with a ReLU between."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class LinearVit(nn.Module):
    """A vision transformer's block with linear attention on patches of 8x8 images."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.patches = nn.Conv2d(3, 32, 2, 2)
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).mT
        q, k, v = self.qkv(self.norm(tokens)).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
        mixed = linear_attention(q, k, v, "elu", self.causal)
        return self.head((tokens + self.out(mixed.transpose(1, 2).flatten(2))).mean(1))


class Overflowing(nn.Module):
    """A norm written out over large activations, and a floor that FP16 rounds to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = 300 * self.first(x)
        squares = wide * wide
        normed = wide / squares.mean(-1, keepdim=True).sqrt()
        unit = normed / normed.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return self.second(unit)


class Masked(nn.Module):
    """A softmax over scores masked with float32's least number."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return (scores + (scores < 0).float() * torch.finfo(torch.float32).min).softmax(-1)
