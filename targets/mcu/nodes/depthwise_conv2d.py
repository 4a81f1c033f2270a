"""Convolution with one filter a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap, packing, reference
from edgeopt.kernels.mcu.reference import Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.mcu.nodes.weighted import Weighted


@dataclass(frozen=True, eq=False)
class DepthwiseConv2d(Weighted):
    """One filter a channel, weights (channels, kernel H, kernel W)."""

    op: ClassVar[str] = "depthwise_conv2d"
    has_window: ClassVar[bool] = True

    window: Window

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Filter a map, channel by channel."""
        (x,) = operands
        return reference.depthwise_conv2d(
            x, self.weights, self.bias, self.multiplier, self.window, self.in_zero, self.clamp
        )

    def takes(self, isa: str, x: Shape) -> bool:
        """Fast kernels are of 3x3 alone."""
        return overlap.supports_depthwise(isa, self.window, x[2])

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Weights, and scratch for a group of channels, which the output is written over."""
        distance = overlap.depthwise_distance(isa, self.window, x, y)
        return Needs(
            self.packed(isa, packing.pack_depthwise_conv2d),
            overlap.depthwise_scratch(isa, self.window, x, y),
            overlap.overread("depthwise_conv2d", isa, x[2], x[2]),
            self.shares(distance, exact=isa != "scalar"),
        )

    def printed(self, site: Site) -> Printed:
        """``(window, x, weights, y, scratch)``."""
        x, y = site.at(self.inputs[0]), site.at(self.output)
        table = site.window_table(self.window, self.clamp, self.in_zero)
        return Printed([table], [[site.window, x, site.words, y, site.scratch]])
