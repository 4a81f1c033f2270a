"""Norms over the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import reference
from edgeopt.kernels.mcu.reference import Clamp, NormFactors
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site


@dataclass(frozen=True, eq=False)
class Norm(Node):
    """Layer norm or RMS norm over the channels."""

    op: ClassVar[str] = "norm"

    factors: NormFactors
    in_zero: int
    clamp: Clamp

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Normalize every position."""
        (x,) = operands
        return reference.norm(x, self.factors, self.in_zero, self.clamp)

    @property
    def is_pointwise(self) -> bool:
        """It is."""
        return True

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Pairs of scale and shift; the output may be written over the input."""
        pairs = np.stack([self.factors.multiplier, self.factors.bias], axis=1).reshape(-1)
        return Needs(pairs, sharings=self.shares(exact=True))

    def printed(self, site: Site) -> Printed:
        """``(factors, x, pairs, y, rows)``."""
        factors, width = self.factors, site.x.shape[2]
        ends = (self.in_zero, self.clamp.zero, self.clamp.low, self.clamp.high)
        per_channel = len(factors.multiplier) > 1
        fields = ", ".join(map(str, (factors.epsilon, width, int(factors.centered), int(per_channel), *ends)))
        table = f"static const eo_norm norm_{site.index} = {{{fields}}};"
        pairs = f"(const int32_t *)(const void *){site.words}"
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([table], [[f"&norm_{site.index}", x, pairs, y, site.rows]])
