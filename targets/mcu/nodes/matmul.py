"""Products of two activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap, reference
from edgeopt.kernels.mcu.reference import Clamp
from edgeopt.targets.mcu.graph.strides import Strides
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site, read_at


@dataclass(frozen=True, eq=False)
class MatMul(Node):
    """Products of two activations: ``a`` (batch, rows, depth) and ``b`` (batch, depth, columns), of zero point 0."""

    op: ClassVar[str] = "matmul"

    a: Strides
    b: Strides
    y: Strides
    shape: Shape
    multiplier: int
    a_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Multiply the matrices of two tensors."""
        left, right = operands
        y = np.empty(self.shape, np.int8)
        products = reference.matmul(self.a.of(left), self.b.of(right), self.multiplier, self.a_zero, self.clamp)
        self.y.of(y)[...] = products
        return y

    def macs(self, y: Shape) -> int:
        """As many as the left matrices have values, for each column of the right ones."""
        return self.samples * int(np.prod(self.a.sizes)) * self.b.sizes[2]

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Scratch for the right matrix."""
        depth, columns = self.b.sizes[1:]
        scratch = overlap.matmul_scratch(isa, depth, columns)
        return Needs(scratch_bytes=scratch, overread=overlap.overread("matmul", isa, depth, depth))

    @property
    def fields(self) -> str:
        """Sizes, steps and scale as an ``eo_matmul``."""
        batch, rows, depth = self.a.sizes
        row = self.a.steps[1] if rows > 1 else depth
        sizes = (batch, rows, depth, self.b.sizes[2])
        steps = (self.a.steps[0], row, *self.b.steps[:3], *self.y.steps[:2])
        ends = (self.a_zero, self.clamp.zero, self.clamp.low, self.clamp.high)
        return f"{{{', '.join(map(str, (*sizes, *steps, self.multiplier, *ends)))}}}"

    def printed(self, site: Site) -> Printed:
        """``(sizes, a, b, y, scratch)``."""
        table = f"static const eo_matmul matmul_{site.index} = {self.fields};"
        a, b = (read_at(site.at(x), s.offset) for x, s in zip(self.inputs, (self.a, self.b), strict=True))
        return Printed([table], [[f"&matmul_{site.index}", a, b, site.at(self.output), site.scratch]])
