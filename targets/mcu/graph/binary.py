"""Nodes of the integer graph whose tensors are signs: maps (H, W, bytes), a pixel's channels packed into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.binary import Bits, ByteThresholds, End
from edgeopt.kernels.mcu.reference import Int8, Window
from edgeopt.targets.mcu.graph.graph import Node
from edgeopt.targets.mcu.graph.tensor import Tensor


def tensor_of_signs(name: str, height: int, width: int, channels: int) -> Tensor:
    """A map of packed signs: its bytes."""
    return Tensor(name, (height, width, 4 * binary.words(channels)), 1.0, 0)


def _words(x: np.ndarray) -> Bits:
    return np.ascontiguousarray(x).view("<u4")


@dataclass(frozen=True, eq=False)
class _OfSigns(Node):
    """A node whose kernel is one of signs."""

    @property
    def dtype(self) -> str:
        """The kernel's type of weights."""
        return "b1"


@dataclass(frozen=True, eq=False)
class BinaryConv2d(_OfSigns):
    """Convolution of signs, weights (out, kernel H, kernel W, in) of +1 and -1, into signs or int8."""

    weights: Int8
    window: Window
    end: End

    @property
    def op(self) -> str:
        """The kernel's operator."""
        return "conv2d"

    @property
    def products(self) -> int:
        """Products a position of the output."""
        return self.weights.size

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Convolve a map of signs."""
        (x,) = operands
        return self.end(binary.sums(_words(x), self.weights, self.window)).view(np.int8)


@dataclass(frozen=True, eq=False)
class Sign(_OfSigns):
    """Signs of int8 values, a threshold a channel."""

    thresholds: ByteThresholds

    @property
    def op(self) -> str:
        """The kernel's operator."""
        return "sign"

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Compare every value."""
        (x,) = operands
        return self.thresholds(x).view(np.int8)


@dataclass(frozen=True, eq=False)
class BinaryMaxPool2d(_OfSigns):
    """Maximum of signs over windows."""

    window: Window

    @property
    def op(self) -> str:
        """The kernel's operator."""
        return "max_pool2d"

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Find the largest of each window."""
        (x,) = operands
        return binary.max_pool2d(_words(x), self.window).view(np.int8)
