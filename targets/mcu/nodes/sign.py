"""Signs of int8 values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import binary
from edgeopt.kernels.mcu.binary import ByteThresholds
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.of_signs import OfSigns
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class Sign(OfSigns):
    """Signs of int8 values, a threshold a channel."""

    op: ClassVar[str] = "sign"

    thresholds: ByteThresholds

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Compare every value."""
        (x,) = operands
        return self.thresholds(x).view(np.int8)

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Thresholds; signs go over values that take as much room as they."""
        shares = self.shares(exact=True) if x[2] >= 4 else ()
        return Needs(self.thresholds.pack(), overread=binary.sign_overread(isa, x[2]), sharings=shares)

    def printed(self, site: Site) -> Printed:
        """``(x, thresholds, y, rows, channels)``."""
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([], [[x, site.words, y, site.rows, str(site.x.shape[2])]])
