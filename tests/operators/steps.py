"""Steps of random programs: operators with the arguments that a shape allows, drawn.

All are continuous in their floats, so that rounding moves a result but little; integers decide where and which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

Draw = Callable[[st.SearchStrategy[Any]], Any]
Function = Callable[..., torch.Tensor]
Kind = Callable[[Draw, torch.Tensor], Function]
"""Returns a function of a value like the given one, or of that and others of its shape."""

ROWS = 9
"""Integers begin as indices of so many rows."""


def _one_of(*functions: Function) -> Kind:
    return lambda draw, x: draw(st.sampled_from(functions))


def _axis(draw: Draw, x: torch.Tensor) -> int:
    found: int = draw(st.integers(-x.dim(), x.dim() - 1))
    return found


def _along(*functions: Callable[[torch.Tensor, int], torch.Tensor]) -> Kind:
    def make(draw: Draw, x: torch.Tensor) -> Function:
        function, axis = draw(st.sampled_from(functions)), _axis(draw, x)
        return lambda x: function(x, axis)

    return make


def _permuted(draw: Draw, x: torch.Tensor) -> Function:
    order = draw(st.permutations(range(x.dim())))
    return lambda x: x.permute(order)


def _reshaped(draw: Draw, x: torch.Tensor) -> Function:
    start = draw(st.integers(0, x.dim() - 2))
    found: Function = draw(
        st.sampled_from([lambda x: x.flatten(start, start + 1), lambda x: x.reshape(-1, x.shape[start])])
    )
    return found


def _cut(draw: Draw, x: torch.Tensor) -> Function:
    axis = _axis(draw, x)
    start, step = draw(st.integers(0, x.shape[axis] - 1)), draw(st.integers(1, 2))
    place = [slice(None)] * (axis % x.dim()) + [slice(start, None, step)]
    return lambda x: x[tuple(place)]


def _padded(draw: Draw, x: torch.Tensor) -> Function:
    widths = draw(st.lists(st.integers(-1 if min(x.shape) > 2 else 0, 2), min_size=2, max_size=2))
    return lambda x: F.pad(x, widths, value=0.5)


def _linear(draw: Draw, x: torch.Tensor) -> Function:
    return nn.Linear(x.shape[-1], draw(st.integers(1, 7)), bias=draw(st.booleans()))


def _normed(draw: Draw, x: torch.Tensor) -> Function:
    norm = draw(st.sampled_from([nn.LayerNorm, nn.RMSNorm]))
    # One value alone has no variance: its norm is 0 / 0 but for epsilon.
    found: Function = norm(x.shape[-1], eps=0.1)
    return found


def _convolved(draw: Draw, x: torch.Tensor) -> Function:
    kind = nn.Conv1d if x.dim() == 3 else nn.Conv2d
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return kind(x.shape[1], draw(st.integers(1, 4)), 3, stride, 2, dilation) if x.dim() in (3, 4) else torch.sin


def _pooled(draw: Draw, x: torch.Tensor) -> Function:
    if x.dim() not in (3, 4):
        return torch.tanh
    rank = x.dim() - 2
    kind = draw(st.sampled_from([(nn.AvgPool1d, nn.AvgPool2d), (nn.MaxPool1d, nn.MaxPool2d)]))[rank - 1]
    found: Function = kind(2, draw(st.integers(1, 2)), 1, ceil_mode=draw(st.booleans()))
    return found


def _resized(draw: Draw, x: torch.Tensor) -> Function:
    if x.dim() != 4:
        return torch.sigmoid
    mode, size = draw(st.sampled_from(["nearest", "bilinear", "bicubic"])), draw(st.integers(2, 7))
    return lambda x: F.interpolate(x, size=(size, size), mode=mode)


def _recurrent(draw: Draw, x: torch.Tensor) -> Function:
    if x.dim() != 3:
        return F.gelu
    layer = draw(st.sampled_from([nn.GRU, nn.LSTM]))(
        x.shape[-1], 3, batch_first=True, bidirectional=draw(st.booleans())
    )
    return _First(layer)


class _First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)[0]
        return y


def _embedded(draw: Draw, x: torch.Tensor) -> Function:
    layer = nn.Embedding(ROWS, draw(st.integers(2, 5)))
    return nn.Sequential(_Rows(), layer)


class _Rows(nn.Module):
    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return index % ROWS


def _summed_over(draw: Draw, x: torch.Tensor) -> Function:
    function, axis, kept = (
        draw(st.sampled_from([torch.sum, torch.mean, torch.amax])),
        _axis(draw, x),
        draw(st.booleans()),
    )
    return lambda x: function(x, axis, keepdim=kept)


def _attended(draw: Draw, x: torch.Tensor) -> Function:
    is_causal = draw(st.booleans())
    return lambda x, y, z: F.scaled_dot_product_attention(x, y, z, is_causal=is_causal)


FLOATS: list[tuple[int, int, Kind]] = [
    (1, 1, _one_of(torch.relu, F.gelu, F.silu, F.mish, torch.tanh, torch.sigmoid, F.softplus, torch.erf, torch.sin)),
    (1, 1, _one_of(F.elu, F.hardswish, F.leaky_relu, F.softsign, torch.neg, torch.abs, F.hardtanh, F.logsigmoid)),
    (1, 1, _one_of(lambda x: x.abs().log1p(), lambda x: (x.abs() + 0.1).rsqrt(), lambda x: torch.exp(-x.abs()))),
    (1, 2, _one_of(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda x, y: x / (1 + y.abs()))),
    (1, 2, _one_of(lambda x, y: torch.cat([x, y], -1), lambda x, y: torch.stack([x, y], 1), torch.add)),
    (1, 1, _along(torch.softmax, torch.log_softmax, torch.cumsum, torch.logsumexp, lambda x, a: x.flip(a))),
    (1, 1, _along(torch.unsqueeze, torch.squeeze, lambda x, a: x.roll(1, a), lambda x, a: x.sort(a)[0])),
    (1, 1, _along(lambda x, a: (x * x).mean(a), lambda x, a: torch.linalg.vector_norm(x + 2.0, 2, a))),
    (2, 1, _summed_over),
    (2, 1, _permuted),
    (2, 1, _reshaped),
    (1, 1, _cut),
    (1, 1, _padded),
    (1, 1, _linear),
    (1, 1, _normed),
    (3, 1, _convolved),
    (3, 1, _pooled),
    (3, 1, _resized),
    (3, 1, _recurrent),
    (2, 3, _attended),
]
"""The least number of axes, how many values are read, and what is drawn: of floats."""

INTEGERS: list[tuple[int, int, Kind]] = [
    (1, 1, _one_of(lambda i: i % 5 + 1, lambda i: i // 2, lambda i: i.clamp(1, 6), lambda i: (i > 3).to(torch.int64))),
    (1, 2, _one_of(lambda i, j: (i + j) % 17, lambda i, j: (i * j) % 11, torch.maximum, lambda i, j: i // (j % 3 + 1))),
    (1, 1, _along(lambda i, a: i.flip(a), lambda i, a: i.sum(a, keepdim=True) % 13, lambda i, a: i.cumsum(a) % 7)),
    (1, 1, _embedded),
    (1, 1, _one_of(lambda i: i.to(torch.float32) / 8, lambda i: F.one_hot(i % ROWS, ROWS).to(torch.float32))),
]
"""The same of integers."""

CHOICES: list[tuple[int, int, Kind]] = [
    (1, 3, _one_of(lambda x, i, y: torch.where(i % 3 > 1, x, y), lambda x, i, y: x * (i % 3) + y)),
    (1, 2, _one_of(lambda x, i: x.masked_fill(i % 4 == 0, 0.5))),
    (1, 2, _one_of(lambda x, i: x.gather(-1, i % x.shape[-1]), lambda x, i: x.scatter_add(0, i % x.shape[0], x))),
]
"""Of floats first, integers of their shape second, floats third."""
