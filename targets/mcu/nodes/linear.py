"""Fully connected layer of one vector, of weights in int8 or in codes of four bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap, packing, packing_codes, reference
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs
from edgeopt.targets.mcu.nodes.site import Printed, Site
from edgeopt.targets.mcu.nodes.weighted import Weighted


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """Fully connected layer, weights (out, in), of the flattened input."""

    op: ClassVar[str] = "linear"

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Multiply a flattened map."""
        (x,) = operands
        y = reference.linear(x.reshape(-1), self.weights, self.bias, self.multiplier, self.in_zero, self.clamp)
        return y.reshape(1, 1, -1)

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Weights alone."""
        inputs = self.weights.shape[1]
        packed = self.packed(isa, packing.pack_linear, packing_codes.pack_linear)
        return Needs(packed, overread=overlap.overread("linear", isa, inputs, inputs), table=self.code_table(isa))

    def printed(self, site: Site) -> Printed:
        """``(sizes, x, weights, y)``."""
        outputs, inputs = self.weights.shape
        fields = f"{inputs}, {outputs}, {self.clamp.zero}, {self.clamp.low}, {self.clamp.high}"
        table = f"static const eo_linear linear_{site.index} = {{{fields}}};"
        x, y = site.at(self.inputs[0]), site.at(self.output)
        return Printed([table], [[f"&linear_{site.index}", x, site.words, y]])
