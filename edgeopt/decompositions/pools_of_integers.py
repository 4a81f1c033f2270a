"""Pools of integers, which ONNX has for floats only: windows are read one place after the other, all windows at once.

    max_pool(x)  =>  the largest of x[place], x[next place], ..      each with the stride of the windows
    avg_pool(x)  =>  (x[place] + x[next place] + ..) / divisor, without what follows the point

Source: torch, aten/src/ATen/native/cpu/MaxPoolKernel.cpp, AvgPoolKernel.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch.nn import functional

from edgeopt.decompositions.division import divide


@dataclass(frozen=True)
class Axis:
    """How windows lie along an axis: of ``kernel`` values, ``dilation`` apart, from ``padding`` before the first."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    windows: int

    @property
    def behind(self) -> int:
        """How many values the last window reads behind those that are there."""
        return max(
            0, (self.windows - 1) * self.stride + self.dilation * (self.kernel - 1) + 1 - self.size - self.padding
        )

    def places(self) -> list[slice]:
        """Return for each value of a window where that of every window lies, padded."""
        last = (self.windows - 1) * self.stride + 1
        return [
            slice(start, start + last, self.stride) for start in range(0, self.kernel * self.dilation, self.dilation)
        ]


def largest(x: torch.Tensor, axes: Sequence[Axis]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of each window of ``x`` [.., spatial...], and its place among a channel's values."""
    own = torch.arange(prod(axis.size for axis in axes)).reshape([axis.size for axis in axes])
    least = int(torch.iinfo(x.dtype).min)
    (best, place), *others = zip(_read(x, axes, least), _read(own, axes, -1), strict=True)
    for value, where in others:
        # The first one of equals, padding aside.
        is_better = (value > best) | (place < 0)
        best, place = torch.where(is_better, value, best), torch.where(is_better, where, place)
    return best, place.expand(best.shape).clone()


def average(x: torch.Tensor, axes: Sequence[Axis], divisor: torch.Tensor | int) -> torch.Tensor:
    """Return the sum of each window of ``x`` [.., spatial...] by ``divisor``, a number or one a window."""
    first, *others = _read(x, axes, 0)
    for value in others:
        first = first + value
    return divide(first, divisor, "trunc")


def _read(x: torch.Tensor, axes: Sequence[Axis], value: int) -> Iterator[torch.Tensor]:
    widths = [width for axis in reversed(axes) for width in (axis.padding, axis.behind)]
    padded = functional.pad(x, widths, value=value) if any(widths) else x
    for places in product(*(axis.places() for axis in axes)):
        where: tuple[Any, ...] = (..., *places)
        yield padded[where]
