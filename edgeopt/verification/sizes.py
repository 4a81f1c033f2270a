"""Sizes of dynamic dimensions: at both ends of their bounds, and between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from edgeopt.program import Program

Sizes = Mapping[Any, int]
"""By symbol of a dynamic dimension, its size."""
Place = Literal["example", "least", "between", "largest"]

FREE = 7
"""How much larger than its least size a dimension without an upper bound is made."""
GROWTH, SMALL = 8, 4096
"""Inputs at the largest sizes hold so many times the example's elements, or so many in all, and no more."""


def symbols(program: Program) -> dict[Any, tuple[str, int]]:
    """Return the symbols of the dynamic dimensions, each with an input and the axis that it is the size of."""
    found: dict[Any, tuple[str, int]] = {}
    for name, axis, dim in _dimensions(program):
        found.setdefault(dim.node.expr, (name, axis))
    return found


def size_of(dimension: int | torch.SymInt, sizes: Sizes) -> int:
    """Return a dimension's size where dynamic ones have these sizes."""
    return dimension if isinstance(dimension, int) else int(dimension.node.expr.subs(sizes))


def shape_of(value: torch.Tensor, sizes: Sizes) -> tuple[int, ...]:
    """Return a fake tensor's shape where dynamic dimensions have these sizes."""
    return tuple(size_of(dimension, sizes) for dimension in value.shape)


def sizes_of(program: Program, sample: Mapping[str, np.ndarray]) -> dict[Any, int]:
    """Return the sizes that a sample has; without a sample, those that the program was traced with."""
    if not sample:
        return {dim.node.expr: int(dim.node.hint) for _, _, dim in _dimensions(program)}
    return {symbol: sample[name].shape[axis] for symbol, (name, axis) in symbols(program).items()}


def sizes_at(program: Program, place: Place, example: Sizes) -> dict[Any, int]:
    """Return sizes at a place of the bounds; ``example``: those of the example.

    The largest are cut down where inputs would grow out of proportion.
    """
    if place == "example":
        return dict(example)
    bounds = {symbol: _bounds(program, symbol, size) for symbol, size in example.items()}
    least = {symbol: low for symbol, (low, _) in bounds.items()}
    if place == "least":
        return least
    share = 1.0 if place == "largest" else 0.5
    most = max(GROWTH * _elements(program, example), SMALL)
    while True:
        sizes = {symbol: low + round((high - low) * share) for symbol, (low, high) in bounds.items()}
        if sizes == least or _elements(program, sizes) <= most:
            return sizes
        share /= 2


def unreached(program: Program, example: Sizes) -> tuple[str, ...]:
    """Return the dimensions whose stated upper bound is beyond what inputs are made for, each with both sizes."""
    reached = sizes_at(program, "largest", example)
    found = symbols(program)
    return tuple(
        f"dimension {axis} of input '{name}' up to {reached[symbol]} of {high}"
        for symbol, (name, axis) in found.items()
        if (high := _stated(program, symbol)) is not None and reached[symbol] < high
    )


def _dimensions(program: Program) -> Iterator[tuple[str, int, torch.SymInt]]:
    for node in program.input_nodes:
        for axis, dim in enumerate(node.meta["val"].shape):
            if isinstance(dim, torch.SymInt) and dim.node.expr.is_symbol:
                yield node.name, axis, dim


def _bounds(program: Program, symbol: Any, example: int) -> tuple[int, int]:
    constraint = program.range_constraints.get(symbol)
    low = int(constraint.lower) if constraint is not None else 1
    # torch.export traces a dynamic dimension as if it were neither 0 nor 1 and states 2 where 1 was asked for.
    low = 1 if low <= 2 else low
    return low, _stated(program, symbol) or max(example, low + FREE)


def _stated(program: Program, symbol: Any) -> int | None:
    """Return a symbol's upper bound, None where there is none."""
    constraint = program.range_constraints.get(symbol)
    # Without a bound, torch has infinity or the largest integer there.
    return int(constraint.upper) if constraint is not None and constraint.upper < 2**31 else None


def _elements(program: Program, sizes: Sizes) -> int:
    return sum(math.prod(shape_of(node.meta["val"], sizes)) for node in program.input_nodes)
