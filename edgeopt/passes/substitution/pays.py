"""Whether another form of attention is faster than the softmax where it will run: both are measured, alone, there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgeopt.analysis.attention import Attention
from edgeopt.ir.context import Timer
from edgeopt.ir.convert import from_exported
from edgeopt.ir.program import Program

Size = tuple[object, ...]


class Measured:
    """Measures each size of attention once. ``figures``: what was measured, by size; None where it does not run.

    ``form`` swaps the softmax of a program for the other form.
    """

    def __init__(self, timer: Timer, form: Callable[[Program], Program]) -> None:
        self.timer, self.form = timer, form
        self.figures: dict[Size, str | None] = {}
        self._reasons: dict[Size, str | None] = {}

    def __call__(self, attention: Attention) -> str | None:
        """Return the figures where the form does not pay, else None; an attention that does not run there pays."""
        shapes = (node.meta["val"].shape[1:] for node in (attention.query, attention.key, attention.value))
        size = (*map(tuple, shapes), attention.key_is_transposed, attention.mask.causal)
        if size not in self._reasons:
            self.figures[size], self._reasons[size] = self._measure(attention)
        return self._reasons[size]

    def _measure(self, attention: Attention) -> tuple[str | None, str | None]:
        softmax = _alone(attention)
        costs = self.timer({"softmax": softmax, "linear": self.form(softmax)})
        if costs is None:
            return None, None
        before, after = (f"{costs[name].value:.3g} {costs[name].unit}" for name in ("softmax", "linear"))
        where = self.timer.where
        figures = f"at {attention.tokens} tokens the softmax takes {before} on {where} and the linear form {after}"
        pays = costs["linear"].value < costs["softmax"].value
        return figures, None if pays else f"{figures}: it would not pay"


class _Softmax(nn.Module):
    """Softmax attention of one sample, and nothing else."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)


def _alone(attention: Attention) -> Program:
    """Return a program that is an attention of the same size, in float32, and its three inputs."""
    sizes = [node.meta["val"].shape[1:] for node in (attention.query, attention.key, attention.value)]
    if attention.key_is_transposed:
        heads, channels, keys = sizes[1]
        sizes[1] = torch.Size((heads, keys, channels))
    inputs = tuple(torch.zeros(1, *map(int, size)) for size in sizes)
    with torch.no_grad():
        return from_exported(torch.export.export(_Softmax(attention.mask.causal), inputs))
