"""Maximum of signs over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.reference import Clamp, Window
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.of_signs import OfSigns, packed_signs
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class BinaryMaxPool2d(OfSigns):
    """Maximum of signs over windows."""

    op: ClassVar[str] = "max_pool2d"
    has_window: ClassVar[bool] = True

    window: Window

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Find the largest of each window."""
        (x,) = operands
        return binary.max_pool2d(packed_signs(x), self.window).view(np.int8)

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Nothing."""
        return Needs()

    def printed(self, site: Site) -> Printed:
        """``(window, x, y)``."""
        channels = 8 * site.x.shape[2]
        table = site.window_table(self.window, Clamp(0), channels=(channels, channels))
        return Printed([table], [[site.window, site.at(self.inputs[0]), site.at(self.output)]])
