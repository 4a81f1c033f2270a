"""Elementwise sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import reference
from edgeopt.kernels.mcu.reference import AddFactors
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node, words
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class Add(Node):
    """Elementwise sum of two tensors of one shape, or of one and a constant."""

    op: ClassVar[str] = "add"

    factors: AddFactors
    low: int = -128
    high: int = 127
    constant: np.ndarray | None = None

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Add two maps."""
        a, b = operands if self.constant is None else (*operands, self.constant)
        return reference.add(a, b.reshape(a.shape), self.factors, self.low, self.high)

    @property
    def is_pointwise(self) -> bool:
        """It is."""
        return True

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The constant; the output may be written over either operand."""
        shares = tuple(s for source in range(len(self.inputs)) for s in self.shares(exact=True, source=source))
        return Needs(sharings=shares) if self.constant is None else Needs(words(self.constant), sharings=shares)

    def table(self, index: int) -> str:
        """The factors as a constant of C."""
        f = self.factors
        fields = (f.mul_a, f.mul_b, f.offset, f.shift, self.low, self.high)
        return f"static const eo_add add_{index} = {{{', '.join(map(str, fields))}}};"

    def printed(self, site: Site) -> Printed:
        """``(factors, a, b, y, count)``."""
        operands = [site.at(name) for name in self.inputs]
        stored = [] if self.constant is None else [site.beside]
        arguments = [f"&add_{site.index}", *operands, *stored, site.at(self.output), site.count]
        return Printed([self.table(site.index)], [arguments])
