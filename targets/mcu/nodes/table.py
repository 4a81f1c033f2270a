"""Any function of single values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import reference
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class Table(Node):
    """Any function of single values, as its 256 results from -128 on."""

    op: ClassVar[str] = "table"

    entries: np.ndarray

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Look every value up."""
        (x,) = operands
        return reference.table(x, self.entries)

    @property
    def is_pointwise(self) -> bool:
        """It is."""
        return True

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The results; the output may be written over the input."""
        return Needs(self.entries.view(np.int32), sharings=self.shares(exact=True))

    def printed(self, site: Site) -> Printed:
        """``(x, results, y, count)``."""
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([], [[x, site.bytes, y, site.count]])
