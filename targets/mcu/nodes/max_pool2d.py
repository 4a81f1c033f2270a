"""Maximum over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import reference
from edgeopt.kernels.mcu.reference import Clamp, Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class MaxPool2d(Node):
    """Maximum over windows; scale and zero point stay."""

    op: ClassVar[str] = "max_pool2d"
    has_window: ClassVar[bool] = True

    window: Window
    low: int = -128
    high: int = 127

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Find the largest of each window."""
        (x,) = operands
        return reference.max_pool2d(x, self.window, self.low, self.high)

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Nothing."""
        return Needs()

    def printed(self, site: Site) -> Printed:
        """``(window, x, y)``."""
        table = site.window_table(self.window, Clamp(0, self.low, self.high))
        return Printed([table], [[site.window, site.at(self.inputs[0]), site.at(self.output)]])
