"""Where the values of a tensor of the program lie in memory, after whatever moved them on paper.

``places`` has the program's shape and holds, for every value, its byte in the integer tensor. A move is applied to the
places instead of the bytes: reshapes, permutes and slices cost nothing until something reads them that cannot stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Strides:
    """Where values lie in a tensor: ``offset``, and for each dimension its size and step, in bytes."""

    offset: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def of(self, x: np.ndarray) -> np.ndarray:
        """The values, as an array of ``sizes`` over the memory of ``x``."""
        flat = np.ascontiguousarray(x).reshape(-1)[self.offset :]
        return np.lib.stride_tricks.as_strided(flat, self.sizes, self.steps)


def canonical(shape: Sequence[int]) -> torch.Tensor:
    """The places of a tensor as kernels lay it out: maps (1, C, H, W) as (H, W, C), all else in order."""
    if len(shape) == 4:
        batch, channels, height, width = shape
        return torch.arange(torch.Size(shape).numel()).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
    return in_order(shape)


def in_order(shape: Sequence[int]) -> torch.Tensor:
    """The places of a tensor whose last dimension is one of neighbors."""
    return torch.arange(torch.Size(shape).numel()).reshape(tuple(shape))


def strides(places: torch.Tensor) -> Strides | None:
    """The places as an offset and one step a dimension, or None where they are not evenly apart."""
    offset = int(places.reshape(-1)[0])
    steps = [
        int(places.select(d, 1).reshape(-1)[0]) - offset if places.shape[d] > 1 else 0 for d in range(places.dim())
    ]
    expected = torch.full((), offset)
    for size, step in zip(places.shape, steps, strict=True):
        expected = expected[..., None] + step * torch.arange(size)
    return Strides(offset, tuple(places.shape), tuple(steps)) if torch.equal(expected, places) else None


def refined(places: torch.Tensor) -> list[int]:
    """The shape in which dimensions that were merged out of several are apart again, as far as steps tell."""
    return [
        size for dim in range(places.dim()) for size in _runs(places.movedim(dim, -1).reshape(-1, places.shape[dim])[0])
    ]


def _runs(line: torch.Tensor) -> list[int]:
    """The sizes of nested runs of even steps that a line consists of, the outermost first."""
    steps = line.diff()
    changes = (steps != steps[:1]).nonzero()
    if not len(changes):
        return [len(line)]
    run = int(changes[0]) + 1
    return [len(line)] if len(line) % run else [*_runs(line[::run]), run]


def merged(source: Strides, target: Strides) -> tuple[Strides, Strides]:
    """The same pairs of places in as few dimensions as they go into, at least one."""
    dims: list[tuple[int, int, int]] = []
    for size, step, to in zip(source.sizes, source.steps, target.steps, strict=True):
        if size == 1:
            continue
        if dims and dims[-1][1:] == (step * size, to * size):
            dims[-1] = (dims[-1][0] * size, step, to)
        else:
            dims.append((size, step, to))
    sizes, steps, tos = zip(*(dims or [(1, 1, 1)]), strict=True)
    return Strides(source.offset, sizes, steps), Strides(target.offset, sizes, tos)
