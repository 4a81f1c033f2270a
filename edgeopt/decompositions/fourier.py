"""Fourier transforms in real arithmetic: products with constant matrices, along one dimension after the other.

A transform of n values costs n products for each, so long ones are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod
from typing import Any

import torch
from torch import fx

from edgeopt.ir.nodes import aten, dtype_of, rank_of, shape_of
from edgeopt.ir.program import Program

LONGEST = 2048
"""Values of a transform up to which its matrices (32 MB at most) are worth it."""

_NOISE = 1e-14
"""What sines and cosines of quarter turns are off from zero, in float64; of others none is as small."""

Pair = tuple[fx.Node, fx.Node]
"""The real and the imaginary part of a complex tensor."""


class NoMatrix(Exception):
    """A transform has a size that is not fixed, or beyond ``LONGEST``."""


def of_complex(program: Program, node: fx.Node, pair: Pair) -> Pair:
    """Insert what ``_fft_c2c`` computes."""
    _, dims, normalization, is_forward = _arguments(node)
    sizes = [_size(node, dim) for dim in dims]
    scale = _scale(sizes, normalization)
    for dim, size in zip(dims, sizes, strict=True):
        pair = _product(program, node, pair, _waves(size, is_forward) * scale, dim)
        scale = 1.0
    return pair


def of_real(program: Program, node: fx.Node, x: fx.Node) -> Pair:
    """Insert what ``_fft_r2c`` computes: of the last dimension the first half where it is one-sided."""
    _, dims, normalization, is_one_sided = _arguments(node)
    sizes = [_size(x, dim) for dim in dims]
    last = sizes[-1] // 2 + 1 if is_one_sided else sizes[-1]
    waves = _waves(sizes[-1], True)[:, :last] * _scale(sizes, normalization)
    pair = _turned(program, node, x, waves.real, dims[-1]), _turned(program, node, x, waves.imag, dims[-1])
    for dim, size in zip(dims[:-1], sizes[:-1], strict=True):
        pair = _product(program, node, pair, _waves(size, True), dim)
    return pair


def to_real(program: Program, node: fx.Node, pair: Pair) -> fx.Node:
    """Insert what ``_fft_c2r`` computes: the second half of the last dimension mirrors the first."""
    _, dims, normalization, length = _arguments(node)
    sizes = [_size(node, dim) for dim in dims]
    for dim, size in zip(dims[:-1], sizes[:-1], strict=True):
        pair = _product(program, node, pair, _waves(size, False), dim)
    half = length // 2 + 1
    twice = torch.full((half, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    if length % 2 == 0:
        twice[-1] = 1.0
    waves = _waves(sizes[-1], False)[:half] * twice * _scale(sizes, normalization)
    real, imaginary = (
        _turned(program, node, part, matrix, dims[-1])
        for part, matrix in zip(pair, (waves.real, -waves.imag), strict=True)
    )
    return program.insert(node, aten.add.Tensor, real, imaginary)


def _arguments(node: fx.Node) -> tuple[Any, list[int], int, Any]:
    given: Any = node.args
    source, dims, normalization, last = given
    return source, dims, normalization, last


def _size(node: fx.Node, dim: int) -> int:
    size = shape_of(node)[dim]
    if not isinstance(size, int) or size > LONGEST:
        raise NoMatrix(f"a transform of {size} values: up to {LONGEST} are written as a product with a matrix")
    return size


def _scale(sizes: list[int], normalization: Any) -> float:
    """Return torch's factor: 1, one over the root of the number of values, or one over it."""
    scale: float = float(prod(sizes)) ** {0: 0.0, 1: -0.5, 2: -1.0}[normalization]
    return scale


def _waves(size: int, is_forward: bool) -> torch.Tensor:
    # The product of positions, modulo the size, before it is turned to an angle: exact for any size.
    positions = torch.arange(size)
    angles = (positions[:, None] * positions[None, :] % size).double() * (2 * pi / size)
    real, imaginary = angles.cos(), -angles.sin() if is_forward else angles.sin()
    # Exact at quarter turns: noise in what is zero would turn the angle of a negative real number from pi to -pi.
    return torch.complex(*(torch.where(part.abs() < _NOISE, 0.0, part) for part in (real, imaginary)))


def _product(program: Program, node: fx.Node, pair: Pair, waves: torch.Tensor, dim: int) -> Pair:
    (rr, ri), (ir, ii) = ([_turned(program, node, x, part, dim) for part in (waves.real, waves.imag)] for x in pair)
    return program.insert(node, aten.sub.Tensor, rr, ii), program.insert(node, aten.add.Tensor, ri, ir)


def _turned(program: Program, node: fx.Node, x: fx.Node, matrix: torch.Tensor, dim: int) -> fx.Node:
    """Insert the product of a matrix with a tensor's values along a dimension."""
    rank = rank_of(x)
    order = list(range(rank))
    order[dim % rank], order[-1] = order[-1], order[dim % rank]
    moved: Callable[[fx.Node], fx.Node] = lambda y: program.insert(node, aten.permute.default, y, order)  # noqa: E731
    swap = order != sorted(order)
    constant = program.add_constant("transform", matrix.to(dtype_of(x)).contiguous())
    product = program.insert(node, aten.matmul.default, moved(x) if swap else x, constant)
    return moved(product) if swap else product
