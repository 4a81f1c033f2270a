"""What nodes have in common whose tensors are signs: maps (H, W, bytes), a pixel's channels packed into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.binary import Bits
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.nodes.node import Node


@dataclass(frozen=True, eq=False)
class OfSigns(Node):
    """A node whose kernel is one of signs."""

    @property
    def dtype(self) -> str:
        """The kernel's type of weights."""
        return "b1"


def tensor_of_signs(name: str, height: int, width: int, channels: int) -> Tensor:
    """A map of packed signs: its bytes."""
    return Tensor(name, (height, width, 4 * binary.words(channels)), 1.0, 0)


def packed_signs(x: np.ndarray) -> Bits:
    """The words of a map of packed signs."""
    return np.ascontiguousarray(x).view("<u4")
