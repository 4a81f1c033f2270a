"""Values moved where no kernel can stride over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.targets.mcu.graph.strides import Strides
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node, words
from edgeopt.targets.mcu.nodes.site import Printed, Site, read_at, write_at


@dataclass(frozen=True)
class Piece:
    """What a copy takes and where it puts it; from ``constant`` where there is one, else from the next input."""

    source: Strides
    target: Strides
    constant: np.ndarray | None = None

    @property
    def fields(self) -> str:
        """Sizes and steps as an ``eo_copy``."""
        unused = (1,) * (4 - len(self.source.sizes))
        rows = ((*unused, *v) for v in (self.source.sizes, self.source.steps, self.target.steps))
        return ", ".join(f"{{{', '.join(map(str, row))}}}" for row in rows)


@dataclass(frozen=True, eq=False)
class Copy(Node):
    """Values brought into another order, or several tensors into one."""

    op: ClassVar[str] = "copy"

    pieces: tuple[Piece, ...]
    shape: Shape

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Copy every piece."""
        y, left = np.empty(self.shape, np.int8), iter(operands)
        for piece in self.pieces:
            piece.target.of(y)[...] = piece.source.of(next(left) if piece.constant is None else piece.constant)
        return y

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """The constants, one after another."""
        constants = [words(piece.constant) for piece in self.pieces if piece.constant is not None]
        return Needs(np.concatenate([np.zeros(0, np.int32), *constants]))

    def printed(self, site: Site) -> Printed:
        """For each piece ``(sizes and steps, source, target)``."""
        tables = [
            f"static const eo_copy copy_{site.index}_{i} = {{{piece.fields}}};" for i, piece in enumerate(self.pieces)
        ]
        calls = [
            [f"&copy_{site.index}_{i}", source, write_at(site.at(self.output), piece.target.offset)]
            for i, (piece, source) in enumerate(zip(self.pieces, self._sources(site), strict=True))
        ]
        return Printed(tables, calls)

    def _sources(self, site: Site) -> Iterator[str]:
        """What each piece is read from: the inputs in order, constants one after another."""
        inputs, stored = iter(self.inputs), 0
        for piece in self.pieces:
            if piece.constant is None:
                yield read_at(site.at(next(inputs)), piece.source.offset)
            else:
                yield read_at(site.bytes, stored + piece.source.offset)
                stored += words(piece.constant).nbytes
