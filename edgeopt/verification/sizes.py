"""Sizes of dynamic dimensions: at both ends of their bounds, and between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import sympy
import torch

from edgeopt.errors import UserError
from edgeopt.ir.program import Program

Sizes = Mapping[Any, int]
"""By symbol of a dynamic dimension, its size."""
Place = Literal["example", "least", "between", "largest"]

FREE = 7
"""How much larger than its least size a dimension without an upper bound is made."""
GROWTH, SMALL = 8, 4096
"""Inputs at the largest sizes hold so many times the example's elements, or so many in all, and no more."""


def symbols(program: Program) -> dict[Any, tuple[str, int, torch.SymInt]]:
    """Return the symbols of the dynamic dimensions, each with an input, an axis and its size there: the symbol itself
    or, where no input has that, an expression of it such as ``4*b``."""
    found: dict[Any, tuple[str, int, torch.SymInt]] = {}
    for name, axis, dim in sorted(_dimensions(program), key=lambda one: not one[2].node.expr.is_symbol):
        (symbol,) = dim.node.expr.free_symbols
        found.setdefault(symbol, (name, axis, dim))
    return found


def size_of(dimension: int | torch.SymInt, sizes: Sizes) -> int:
    """Return a dimension's size where dynamic ones have these sizes."""
    return dimension if isinstance(dimension, int) else int(dimension.node.expr.subs(sizes))


def shape_of(value: torch.Tensor, sizes: Sizes) -> tuple[int, ...]:
    """Return a fake tensor's shape where dynamic dimensions have these sizes."""
    return tuple(size_of(dimension, sizes) for dimension in value.shape)


def sizes_of(program: Program, sample: Mapping[str, np.ndarray]) -> dict[Any, int]:
    """Return the sizes that a sample has; without a sample, those that the program was traced with."""
    found = symbols(program).items()
    if not sample:
        return {symbol: _solved(symbol, place, int(place[2].node.hint)) for symbol, place in found}
    return {symbol: _solved(symbol, place, sample[place[0]].shape[place[1]]) for symbol, place in found}


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
    most = _most(program, example)
    while True:
        sizes = {symbol: low + round((high - low) * share) for symbol, (low, high) in bounds.items()}
        if sizes == least or _elements(program, sizes) <= most:
            return sizes
        share /= 2


def towards(program: Program, symbol: Any, example: Sizes, end: int) -> dict[Any, int]:
    """Return the example's sizes but that of one symbol, which is ``end``, or nearer to the example's where inputs
    would grow out of proportion."""
    most, size = _most(program, example), end
    while size > example[symbol] and _elements(program, {**example, symbol: size}) > most:
        size = example[symbol] + (size - example[symbol]) // 2
    return {**example, symbol: size}


def unreached(program: Program, example: Sizes) -> tuple[str, ...]:
    """Return the dimensions whose stated upper bound is beyond what inputs are made for, each with both sizes."""
    reached = sizes_at(program, "largest", example)
    found = symbols(program)
    return tuple(
        f"dimension {axis} of input '{name}' up to {size_of(dim, reached)} of {size_of(dim, {symbol: high})}"
        for symbol, (name, axis, dim) in found.items()
        if (high := _stated(program, symbol)) is not None and reached[symbol] < high
    )


def _dimensions(program: Program) -> Iterator[tuple[str, int, torch.SymInt]]:
    for node in program.input_nodes:
        for axis, dim in enumerate(node.meta["val"].shape):
            if isinstance(dim, torch.SymInt) and len(dim.node.expr.free_symbols) == 1:
                yield node.name, axis, dim


def _solved(symbol: Any, place: tuple[str, int, torch.SymInt], size: int) -> int:
    """Return a symbol's value where the dimension at ``place`` has this size.

    Raises UserError where the dimension cannot have it.
    """
    name, axis, dim = place
    solutions = sympy.solve(dim.node.expr - size, symbol)
    if len(solutions) != 1:
        fact = f"dimension {axis} of input '{name}' is {size}, not {dim.node.expr}"
        raise UserError(fact, "give a sample that the model takes")
    return int(solutions[0])


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


def _most(program: Program, example: Sizes) -> int:
    """Return how many elements inputs may have."""
    return max(GROWTH * _elements(program, example), SMALL)


def _elements(program: Program, sizes: Sizes) -> int:
    return sum(math.prod(shape_of(node.meta["val"], sizes)) for node in program.input_nodes)
