"""Mean over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap, reference
from edgeopt.kernels.mcu.reference import Clamp, Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class AvgPool2d(Node):
    """Mean over windows without padding; ``multiplier`` is that of 16 times the sum."""

    op: ClassVar[str] = "avg_pool2d"
    has_window: ClassVar[bool] = True

    window: Window
    multiplier: int
    in_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Average windows of a map."""
        (x,) = operands
        return reference.avg_pool2d(x, self.multiplier, self.window, self.in_zero, self.clamp)

    @property
    def requant(self) -> tuple[int, int]:
        """What a sum begins with, and its multiplier."""
        return -self.in_zero * self.window.kernel[0] * self.window.kernel[1], self.multiplier

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Two numbers."""
        over = overlap.overread("avg_pool2d", isa, x[2], x[2])
        return Needs(np.array(self.requant, np.int32), overread=over, in_call=True)

    def printed(self, site: Site) -> Printed:
        """``(window, x, two numbers, y)``."""
        begin, multiplier = self.requant
        requant = f"static const eo_requant requant_{site.index} = {{{begin}, {multiplier}}};"
        tables = [site.window_table(self.window, self.clamp, self.in_zero), requant]
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed(tables, [[site.window, x, f"&requant_{site.index}", y]])
