"""Attention as one kernel: only two rows of scores exist at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.kernels.mcu import overlap
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.matmul import MatMul
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site, read_at, write_at
from edgeopt.targets.mcu.nodes.softmax import Softmax


@dataclass(frozen=True, eq=False)
class Attention(Node):
    """Scores, softmax and configuration at once: inputs are queries, keys and values.

    One of a single head, ``over`` its queries, leaves the other heads' queries in the output as they are.
    """

    op: ClassVar[str] = "attention"

    scores: MatMul
    softmax: Softmax
    mix: MatMul
    over: bool = False

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Attend."""
        q, k, v = operands
        mixed = self.mix.run(self.softmax.run(self.scores.run(q, k)), v)
        if not self.over:
            return mixed
        y = q.copy()
        self.mix.y.of(y)[...] = self.mix.y.of(mixed)
        return y

    def macs(self, y: Shape) -> int:
        """Those of both products."""
        return self.scores.macs(y) + self.mix.macs(y)

    @property
    def root(self) -> str | None:
        """The queries, where it is of one head."""
        return self.inputs[0] if self.over else None

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The table of the softmax, scratch for rows of scores; heads that lie as the queries do go over them."""
        same = (
            not self.over
            and all(self.scores.a.steps[i] == self.mix.y.steps[i] for i in (0, 1))
            and self.scores.a.offset == 0
        )
        _, size, positions = self.scores.b.sizes
        return Needs(
            self.softmax.table.view(np.int32),
            overlap.attention_scratch(isa, size, positions, self.mix.b.sizes[2]),
            overlap.overread("attention", isa, 0, 0),
            self.shares(exact=True) if same else (),
        )

    def printed(self, site: Site) -> Printed:
        """``(sizes, queries, keys, values, table, y, scratch)``."""
        fields = f"{self.scores.fields}, {self.mix.fields}"
        table = f"static const eo_attention attention_{site.index} = {{{fields}}};"
        starts = (self.scores.a, self.scores.b, self.mix.b)
        operands = [read_at(site.at(x), s.offset) for x, s in zip(self.inputs, starts, strict=True)]
        y = write_at(site.at(self.output), self.mix.y.offset)
        return Printed([table], [[f"&attention_{site.index}", *operands, site.halves, y, site.scratch]])
