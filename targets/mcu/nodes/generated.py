"""A region that stays in float inside, as C that was generated for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import Needs, Node
from edgeopt.targets.mcu.nodes.site import Printed, Site

_C_TYPES = {"float32": "float", "bool": "int8_t", "int8": "int8_t", "int32": "int32_t", "int64": "int64_t"}


@dataclass(frozen=True, eq=False)
class Code:
    """C of one region: ``functions`` and the ``calls`` of the function that runs them, with its constants.

    ``calls`` use ``x0``, ``x1``, ... for the operands, ``y`` for the result and ``scratch``.
    """

    functions: str
    calls: tuple[str, ...]
    constants: tuple[np.ndarray, ...]
    scratch_bytes: int


@dataclass(frozen=True, eq=False)
class Generated(Node):
    """The ``operators`` of a region as ``code``.

    ``reference`` computes it for operands (H, W, C): the C rounds in another order, so that a result may be one step
    off.
    """

    op: ClassVar[str] = "generated"

    reference: Callable[..., np.ndarray]
    code: Code
    shape: Shape
    operators: tuple[str, ...]

    def run(self, *operands: np.ndarray) -> np.ndarray:
        """Evaluate the region."""
        return self.reference(*operands).reshape(self.shape)

    def kernel(self, isas: Sequence[str], x: Shape) -> None:
        """None: plain C for every core."""

    def needs(self, isa: str, x: Shape, y: Shape) -> Needs:
        """Scratch, and constants of its own."""
        own = sum(array.nbytes for array in self.code.constants)
        return Needs(scratch_bytes=self.code.scratch_bytes, own_constant_bytes=own)

    def printed(self, site: Site) -> Printed:
        """``(operands, y, scratch)``."""
        return Printed([], [[*map(site.at, (*self.inputs, self.output)), site.scratch]])

    def definition(self, symbol: str) -> dict[str, object]:
        """The function as its template prints it; floats in hexadecimal, so that no bit is lost."""
        constants = [
            {
                "type": _C_TYPES[str(array.dtype)],
                "values": [f"{float(v).hex()}f" if array.dtype.kind == "f" else str(int(v)) for v in array.reshape(-1)],
            }
            for array in self.code.constants
        ]
        names = [f"x{i}" for i in range(len(self.inputs))]
        used = set(re.findall(r"\w+", " ".join(self.code.calls)))
        return {
            "symbol": symbol, "operands": ", ".join(f"int8_t *{name}" for name in names), "constants": constants,
            "unused": [name for name in (*names, "scratch") if name not in used],
            "functions": self.code.functions, "calls": self.code.calls,
        }  # fmt: skip
