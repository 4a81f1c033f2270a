"""The tensor of an integer graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor: ``real = (value - zero_point) * scale``."""

    name: str
    shape: Shape
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape))


def part_of(shape: Shape, samples: int) -> Shape:
    """One of ``samples`` equal parts: a map, or a vector where no map's height divides by them."""
    height, width, channels = shape
    if height % samples:
        return 1, 1, height * width * channels // samples
    return height // samples, width, channels
