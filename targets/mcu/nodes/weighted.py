"""Layers with weights: bias and multiplier of each output, weights in int8 or as codes of four bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgeopt.kernels.mcu import packing, packing_codes
from edgeopt.kernels.mcu.reference import Clamp
from edgeopt.quant.float4 import Element
from edgeopt.targets.mcu.graph.tensor import Shape
from edgeopt.targets.mcu.nodes.node import CodeTable, Node


@dataclass(frozen=True, eq=False)
class Weighted(Node):
    """A layer with weights: bias and multiplier int32, one an output channel; bias without the zero-point term.

    ``element``: the 4-bit format of its weights, where these are stored as codes. ``shifts``: its multipliers are
    powers of two, and its kernel shifts.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    in_zero: int
    clamp: Clamp
    element: Element | None = field(default=None, kw_only=True)
    shifts: bool = field(default=False, kw_only=True)

    @property
    def dtype(self) -> str:
        """The kernel's type of weights: int8, int8 with scales that are powers of two, or codes of four bits."""
        if self.element is not None:
            return "w4"
        return "s8pow2" if self.shifts else "s8"

    def macs(self, y: Shape) -> int:
        """One for each weight at each position."""
        return self.weights.size * y[0] * y[1]

    @property
    def folded_bias(self) -> np.ndarray:
        """``bias - in_zero * sum(weights)``, as the kernels want it."""
        return packing.fold_zero(self.weights, self.bias, self.in_zero).astype(np.int32)

    def packed(
        self, isa: str, pack: Callable[..., np.ndarray], pack_codes: Callable[..., np.ndarray] | None = None
    ) -> np.ndarray:
        """The constant block: by ``pack_codes`` of codes, by ``pack`` where a multiplication requantizes."""
        factors = (self.folded_bias, self.multiplier)
        if self.element is not None and pack_codes is not None:
            return pack_codes(isa, self.weights, self.numbers, *factors)
        return packing.pack_shifts(self.weights, *factors) if self.shifts else pack(isa, self.weights, *factors)

    @property
    def numbers(self) -> np.ndarray:
        """The sixteen integers of its 4-bit format by code."""
        assert self.element is not None
        return self.element.table().numpy().astype(np.int8)

    def code_table(self, isa: str) -> CodeTable | None:
        """What its codes are looked up in."""
        if self.element is None:
            return None
        return CodeTable(f"codes_{self.element.name}_{isa}", packing_codes.pack_table(isa, self.numbers))
