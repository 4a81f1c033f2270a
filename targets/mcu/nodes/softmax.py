"""Softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import reference
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """Softmax over the last axis; ``table`` is ``reference.exp_table`` of the input's scale."""

    op: ClassVar[str] = "softmax"

    table: np.ndarray

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Normalize the last axis."""
        (x,) = operands
        return reference.softmax(x, self.table)

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The table; the output may be written over the input."""
        return Needs(self.table.view(np.int32), sharings=self.shares(exact=True))

    def printed(self, site: Site) -> Printed:
        """``(x, table, y, rows, width)``."""
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([], [[x, site.halves, y, site.rows, str(site.y.shape[2])]])
