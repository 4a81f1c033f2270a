"""A model of integer operators, each an output, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

_Op = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

OPERATORS: dict[str, _Op] = {
    "plus": lambda a, b: a + b * 3,
    "minus": lambda a, b: torch.sub(7 - a, b, alpha=2),
    "floor_by": lambda a, b: a // b,
    "floor_by_three": lambda a, b: a // 3,
    "truncated_by": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "truncated_by_four": lambda a, b: torch.div(a, 4, rounding_mode="trunc"),
    "modulo": lambda a, b: a % b + a % 7,
    "fmod_of": lambda a, b: torch.fmod(a, b),
    "squared": lambda a, b: a**2,
    "cubed": lambda a, b: b**3,
    "shifted_right": lambda a, b: a >> 2,
    "shifted_left": lambda a, b: a << 2,
    "less": lambda a, b: a < b,
    "equal": lambda a, b: a == b * 2,
    "largest": lambda a, b: torch.maximum(a, b) - torch.minimum(a, b),
    "total": lambda a, b: a.sum(),
    "running": lambda a, b: a.cumsum(0) * b,
    "bits": lambda a, b: (a & b) + (a | 5) - (a ^ b) + ~a,
    "absolute": lambda a, b: a.abs() + (-b).sign(),
    "clamped": lambda a, b: a.clamp(-5, 50) - a.clamp(max=3),
    "chosen": lambda a, b: torch.where(a > b, a, b + 1),
    "position": lambda a, b: a.argmax() + b.argmin(),
    "sorted_": lambda a, b: a.sort()[0] + a.topk(6)[0],
    "to_float": lambda a, b: a.float(),
    "gathered": lambda a, b: torch.cat([a, b])[torch.tensor([1, 0, 11])],
    "padded": lambda a, b: nn.functional.pad(a, (1, 2), value=-9),
    "filled": lambda a, b: a.masked_fill(b > 0, 77),
    "product": lambda a, b: a[:, None] * b[None, :],
    "narrowed": lambda a, b: (a.int() + 1) * b.int(),
    "counted": lambda a, b: torch.arange(2, 9, 3) + (a != 0).sum(),
}


class Integers(nn.Module):
    """Every operator of a and b, [6] int64, as an output of its name."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: operator(a, b) for name, operator in OPERATORS.items()}


def integers(bound: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return inputs within ±bound; nothing in b is zero."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(-bound, bound + 1, (6,), generator=generator)
    b = torch.randint(1, bound + 1, (6,), generator=generator)
    return {"a": a, "b": torch.where(torch.arange(6) % 2 == 0, b, -b)}
