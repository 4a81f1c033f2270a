"""64-bit integers that ONNX Runtime computes in double, which holds them up to 2^53, written exactly beyond.

    sum(x, d)   =>  cumsum(x, d)[last],  which it computes in integers
    prod(x, d)  =>  the first half of x times the second, until one is left
    x ^ e       =>  product of x^(2^b) over the bits b of e;  for e < 0 it is 0, but 1 / x where x is 1 or -1

Where the integers are known to stay within 2^53 the operators stay whole. Measured with ONNX Runtime 1.32: ReduceSum,
ReduceProd and Pow round; CumSum, Mul, MatMul and the other operators of integers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.integer_ranges import integer_ranges, of_dtype
from edgeopt.analysis.integer_rules import is_integer
from edgeopt.analysis.intervals import Interval, within
from edgeopt.decompositions.writing_out import replace_by
from edgeopt.ir.canonical import canonicalize
from edgeopt.ir.nodes import Target, aten
from edgeopt.ir.program import Program

LARGEST_IN_DOUBLE = 2**53
_EXACT = (-LARGEST_IN_DOUBLE, LARGEST_IN_DOUBLE)
_ANYTHING = of_dtype(torch.int64)


def rewritten(program: Program) -> Program:
    """Return the program with sums, products and powers of integers beyond 2^53 written out."""
    found = [node for node in program.calls if node.target in _WRITTEN and is_integer(node)]
    ranges = integer_ranges(program, _ANYTHING[1]) if found else {}
    inexact = [(node.name, _exponents(node, ranges)) for node in found if not _is_exact(node, ranges)]
    if not inexact:
        return program
    program = program.clone()
    for name, exponents in inexact:
        node = program.node(name)
        assert node is not None  # its name is of this program
        write = _WRITTEN[node.target]
        replace_by(program, node, partial(write, exponents=exponents) if write is power else write)
    canonicalize(program)
    program.clean()
    return program


def _is_exact(node: fx.Node, ranges: Mapping[fx.Node, Interval]) -> bool:
    touched = [node, *filter(is_integer, node.all_input_nodes)]
    return all(within(ranges.get(one, _ANYTHING), _EXACT) for one in touched)


def _exponents(node: fx.Node, ranges: Mapping[fx.Node, Interval]) -> Interval:
    """Return what the second argument lies between."""
    value = node.args[1] if len(node.args) > 1 else 0
    if isinstance(value, fx.Node):
        return ranges.get(value, _ANYTHING)
    return (value, value) if isinstance(value, int) else _ANYTHING


def total(x: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return the sum of all of ``x`` [...] in ``dtype``, or else in 64 bits."""
    return total_along(x, range(x.dim()), False, dtype)


def total_along(x: torch.Tensor, dims: Sequence[int] | None, keepdim: bool, dtype: torch.dtype | None) -> torch.Tensor:
    """Return the sum of ``x`` [...] along ``dims``, or along all of them."""
    result = x.to(dtype or torch.int64)
    axes = sorted({dim % x.dim() for dim in dims or range(x.dim())}, reverse=True) if x.dim() else []
    for axis in axes:
        result = result.cumsum(axis).narrow(axis, -1, 1)
    return result.squeeze(axes) if axes and not keepdim else result


def product(x: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return the product of all of ``x`` [...] in ``dtype``, or else in 64 bits."""
    return product_along(x.reshape(-1), 0, False, dtype)


def product_along(x: torch.Tensor, dim: int, keepdim: bool, dtype: torch.dtype | None) -> torch.Tensor:
    """Return the product of ``x`` [...] along ``dim``."""
    rest = x.to(dtype or torch.int64).movedim(dim, -1)
    while (count := rest.shape[-1]) > 1:
        half = count // 2
        folded = rest[..., :half] * rest[..., half : 2 * half]
        rest = torch.cat([folded, rest[..., 2 * half :]], -1) if count % 2 else folded
    return rest.movedim(-1, dim) if keepdim else rest.squeeze(-1)


def power(base: Any, exponent: Any, exponents: Interval) -> torch.Tensor:
    """Return ``base`` to the ``exponent``, tensors or one a number, of exponents that lie within ``exponents``."""
    dtype = torch.result_type(base, exponent)
    factor, bits = (x if isinstance(x, torch.Tensor) else torch.full((), x) for x in (base, exponent))
    factor, bits = factor.to(dtype), bits.to(torch.int64)
    is_odd, sign = bits % 2 == 1, factor
    result = torch.where(is_odd, factor, 1)
    for bit in range(1, min(exponents[1], _ANYTHING[1]).bit_length()):
        factor = factor * factor
        result = result * torch.where(torch.floor_divide(bits, 2**bit) % 2 == 1, factor, 1)
    if exponents[0] >= 0:
        return result
    return torch.where(bits < 0, torch.where(sign.abs() == 1, torch.where(is_odd, sign, 1), 0), result)


_WRITTEN: dict[Target, Callable[..., torch.Tensor]] = {
    aten.sum.default: total,
    aten.sum.dim_IntList: total_along,
    aten.prod.default: product,
    aten.prod.dim_int: product_along,
    aten.pow.Tensor_Scalar: power,
    aten.pow.Tensor_Tensor: power,
    aten.pow.Scalar: power,
}
