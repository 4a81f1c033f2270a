"""Convolution, of weights in int8 or in codes of four bits; with a sum in it, it writes over the sum's other operand.

A vector for each position, as transformers have it, is a convolution of one pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap, packing, packing_codes, reference
from edgeopt.kernels.mcu.reference import Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.add import Add
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.mcu.nodes.weighted import Weighted


@dataclass(frozen=True, eq=False)
class Conv2d(Weighted):
    """Convolution, weights (out, kernel H, kernel W, in); with ``residual`` a second input is added to its result."""

    op: ClassVar[str] = "conv2d"
    has_window: ClassVar[bool] = True

    window: Window
    residual: Add | None = None

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Convolve a map, and add the second one."""
        x, *other = operands
        y = reference.conv2d(x, self.weights, self.bias, self.multiplier, self.window, self.in_zero, self.clamp)
        return y if self.residual is None else self.residual.run(y, *other)

    @property
    def is_pointwise(self) -> bool:
        """Whether its window is one pixel."""
        return self.window == Window()

    @property
    def root(self) -> str | None:
        """What is added to the result."""
        return self.inputs[1] if self.residual else None

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Weights, scratch for patches; the output follows the input where nothing is added."""
        coded, row = self.element is not None, self.window.kernel[1] * x[2]
        scratch = overlap.coded_conv2d_scratch if coded else overlap.conv2d_scratch
        distance = overlap.coded_conv2d_distance if coded else overlap.conv2d_distance
        return Needs(
            self.packed(isa, packing.pack_conv2d, packing_codes.pack_conv2d),
            scratch(isa, self.window, x, y, self.residual is not None),
            overlap.overread("conv2d", isa, row * self.window.kernel[0], row),
            () if self.residual else self.shares(distance(isa, self.window, x, y)),
            self.code_table(isa),
        )

    def printed(self, site: Site) -> Printed:
        """``(window, x, weights, sum or NULL, y, scratch)``."""
        tables = [site.window_table(self.window, self.clamp, self.in_zero)]
        added = "NULL"
        if self.residual:
            tables.append(self.residual.table(site.index))
            added = f"&add_{site.index}"
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed(tables, [[site.window, x, site.words, added, y, site.scratch]])
