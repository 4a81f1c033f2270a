"""Convolution of signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.binary import End, Requant
from edgeopt.kernels.mcu.reference import Clamp, Int8, Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.of_signs import OfSigns, packed_signs
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class BinaryConv2d(OfSigns):
    """Convolution of signs, weights (out, kernel H, kernel W, in) of +1 and -1, into signs or int8."""

    op: ClassVar[str] = "conv2d"
    has_window: ClassVar[bool] = True

    weights: Int8
    window: Window
    end: End

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Convolve a map of signs."""
        (x,) = operands
        return self.end(binary.sums(packed_signs(x), self.weights, self.window)).view(np.int8)

    def macs(self, y: Shape) -> int:
        """One for each weight at each position."""
        return self.weights.size * y[0] * y[1]

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Weights, and scratch for a patch and its sums."""
        outputs, *_, inputs = self.weights.shape
        packed = binary.pack_conv2d(isa, self.weights, self.end)
        return Needs(packed, binary.conv2d_scratch(isa, self.window, inputs, outputs))

    def printed(self, site: Site) -> Printed:
        """``(window, x, weights, whether into int8, y, scratch)``."""
        outputs, *_, inputs = self.weights.shape
        clamp = self.end.clamp if isinstance(self.end, Requant) else Clamp(0)
        table = site.window_table(self.window, clamp, channels=(inputs, outputs))
        into_int8 = str(int(isinstance(self.end, Requant)))
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([table], [[site.window, x, site.words, into_int8, y, site.scratch]])
