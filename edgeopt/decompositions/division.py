"""Division that rounds, written by the remainder: exporters round the quotient of two floats, which is a rounded one.

    div(a, b, rounding_mode="trunc")  =>  (a - fmod(a, b)) // b                        of integers
    floor_divide(a, b)                =>  (a - fmod(a, b)) / b, less 1 where the remainder's sign is not the divisor's,
                                          to the nearest integer                       of floats
    remainder(a, b)                   =>  fmod(a, b), plus b where its sign is not b's  of floats

Of integers, exporters divide in float32, which holds them up to 2^24 only. Of floats, x / 0.1 may be 3 where x lies
below 3 times 0.1 as rounded; ``fmod`` is exact.

Source: torch, c10/util/generic_math.h (``div_floor_floating``, ``div_mod``), which follows Python's ``floatobject.c``.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.analysis.integer_rules import INTEGERS
from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def result_type(a: Any, b: Any) -> torch.dtype:
    """Return the type in which torch divides two tensors or numbers."""
    return torch.result_type(a, b)


def are_floats(given: Arguments) -> bool:
    """Whether a division's operands, of which one may be a number, meet in a type of real floats."""
    return result_type(given["self"], given["other"]).is_floating_point


def _are_integers(given: Arguments) -> bool:
    operands = (given["self"], given["other"])
    return all(v.dtype in INTEGERS if isinstance(v, torch.Tensor) else isinstance(v, int) for v in operands)


def _rounds(given: Arguments) -> bool:
    mode = given["rounding_mode"]
    return (mode == "trunc" and _are_integers(given)) or (mode == "floor" and are_floats(given))


@decomposes(aten.div.Tensor_mode, aten.div.Scalar_mode, where=_rounds)
def divide(dividend: torch.Tensor, divisor: Any, rounding_mode: str) -> torch.Tensor:
    """Return the quotient of [...] integers without what follows the point, or of floats rounded down."""
    if rounding_mode == "floor":
        return floor_divide(dividend, divisor)
    return torch.floor_divide(dividend - torch.fmod(dividend, divisor), divisor)


@decomposes(aten.floor_divide.default, aten.floor_divide.Scalar, where=are_floats)
def floor_divide(dividend: torch.Tensor, divisor: Any) -> torch.Tensor:
    """Return the quotient of [...] floats rounded down."""
    dtype = result_type(dividend, divisor)
    a, b = operands(dividend, divisor)
    left = torch.fmod(a, b)
    quotient = (a - left) / b
    quotient = torch.where(_has_other_sign(left, b), quotient - 1.0, quotient)
    down = torch.floor(quotient)
    down = torch.where(quotient - down > 0.5, down + 1.0, down)
    return torch.where(b == 0.0, a / b, down).to(dtype)


@decomposes(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor, where=are_floats)
def remainder(dividend: torch.Tensor, divisor: Any) -> torch.Tensor:
    """Return what is left of [...] floats, with the divisor's sign."""
    a, b = operands(dividend, divisor)
    left = torch.fmod(a, b)
    return torch.where(_has_other_sign(left, b), left + b, left).to(result_type(dividend, divisor))


def operands(a: Any, b: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tensors or numbers as tensors of the type in which torch computes with them: half floats as float32."""
    dtype = result_type(a, b)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    first, second = (
        x.to(dtype).to(wide) if isinstance(x, torch.Tensor) else torch.full((), x, dtype=wide) for x in (a, b)
    )
    return first, second


def _has_other_sign(left: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    return ((divisor < 0.0) & (left > 0.0)) | ((divisor > 0.0) & (left < 0.0))
