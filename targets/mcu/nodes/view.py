"""A tensor under another shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class View(Node):
    """The bytes of its input under another shape: nothing to do."""

    op: ClassVar[str] = "view"
    has_call: ClassVar[bool] = False

    shape: Shape

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Reshape."""
        (x,) = operands
        return x.reshape(self.shape)

    @property
    def root(self) -> str | None:
        """Its input."""
        return self.inputs[0]

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Nothing."""
        return Needs()

    def printed(self, site: Site) -> Printed:
        """Nothing."""
        return Printed([], [])
