"""Quotients of floats as torch rounds them, where the model decides by them, and remainders to the last digit.

OpenVINO's CPU plug-in computes x / y as x * (1 / y), which is rounded twice: x / x may lie below 1, and its floor is 0.
It computes fmod(x, y) as x - trunc(x / y) * y, rounded. Both are corrected by what is left of the dividend,

    x - q y  =  (x - p) - (the rounding error of p),  p = q * y rounded

where the error of a product is found exactly by splitting its factors in halves. A quotient with that divided by y
added is rounded as torch's; the remainder is it for the whole number that leaves no less than 0, and less than y.

Source: T. J. Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18 (1971).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.integer_ranges import hands_on
from edgeopt.decompositions import write_out
from edgeopt.decompositions.division import operands, result_type
from edgeopt.decompositions.writing_out import replace_by
from edgeopt.ir.canonical import canonicalize
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program

LARGEST_QUOTIENT = 2**22
"""Quotient of two floats up to which their remainder is exact: its whole part is off by 1 at most."""

_QUOTIENTS = (aten.div.Tensor, aten.true_divide.Tensor)
_CASTS = (aten.to, aten._to_copy, aten.type_as)
_REMAINDERS = (aten.fmod, aten.remainder, aten.floor_divide)
_DECIDING = frozenset(
    getattr(aten, name)
    for names in (
        ("floor", "ceil", "round", "trunc", "fix", "frac", "sign", "sgn", "signbit", "heaviside", "fmod", "remainder"),
        ("floor_divide", "eq", "ne", "lt", "le", "gt", "ge", "isclose", "equal", "bucketize", "searchsorted"),
    )
    for name in names
)
"""Operators with a jump."""


def rewritten(program: Program) -> tuple[Program, tuple[str, ...]]:
    """Return the program with such quotients and remainders written out, and notes on how far they reach."""
    quotients = [node.name for node in program.calls if _is_quotient(node) and _decides(node)]
    remainders = [node.name for node in program.calls if _leaves_remainder(node)]
    if not quotients and not remainders:
        return program, ()
    program = program.clone()
    if write_out(program):
        canonicalize(program)
    for node in list(program.calls):
        if node.name in quotients:
            replace_by(program, node, _rounded(node))
        elif _packet(node) is aten.fmod and _is_float(node):
            replace_by(program, node, remainder)
    canonicalize(program)
    program.clean()
    return program, _notes(remainders)


def _notes(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    reach = f"while a dividend is at most {LARGEST_QUOTIENT:,} times its divisor"
    return (f"remainders of floats are those of torch {reach}: {', '.join(names)}",)


def _packet(node: fx.Node) -> Any:
    return getattr(node.target, "overloadpacket", None)


def _mode(node: fx.Node) -> object:
    return node.kwargs.get("rounding_mode") if _packet(node) is aten.div else None


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point


def _leaves_remainder(node: fx.Node) -> bool:
    return _is_float(node) and (_packet(node) in _REMAINDERS or _mode(node) == "floor")


def _is_quotient(node: fx.Node) -> bool:
    """Whether a node divides floats, by numbers that are not all powers of two, whose reciprocals are exact."""
    if not _is_float(node) or not (node.target in _QUOTIENTS or _mode(node) == "trunc"):
        return False
    divisor = node.args[1]
    return not isinstance(divisor, int | float) or abs(math.frexp(divisor)[0]) != 0.5


def _decides(quotient: fx.Node) -> bool:
    """Whether what a quotient is computes, element by element, leads to an operator with a jump."""
    if _mode(quotient) == "trunc":
        return True
    seen, waiting = {quotient}, [quotient]
    while waiting:
        node = waiting.pop()
        for user in node.users:
            if _has_jump(user):
                return True
            if user not in seen and _is_float(user) and (_is_pointwise(user) or hands_on(user)):
                seen.add(user)
                waiting.append(user)
    return False


def _has_jump(node: fx.Node) -> bool:
    value = node.meta.get("val")
    becomes_whole = isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.is_complex())
    return _packet(node) in _DECIDING or _mode(node) is not None or (becomes_whole and _packet(node) in _CASTS)


def _is_pointwise(node: fx.Node) -> bool:
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


# -- what takes their place --------------------------------------------------------------------------------


def _rounded(node: fx.Node) -> Any:
    return truncated if _mode(node) == "trunc" else quotient


def quotient(dividend: Any, divisor: Any) -> torch.Tensor:
    """Return the quotient of [...] floats, rounded once."""
    a, b = operands(dividend, divisor)
    near = a / b
    step = _left(a, near, b) / b
    # Of infinities, and beyond the range of the halves' products, there is no step.
    return torch.where(step.abs() < torch.inf, near + step, near).to(_float_type(dividend, divisor))


def truncated(dividend: Any, divisor: Any, rounding_mode: str) -> torch.Tensor:
    """Return the quotient of [...] floats without what follows the point."""
    return torch.trunc(quotient(dividend, divisor))


def remainder(dividend: Any, divisor: Any) -> torch.Tensor:
    """Return what is left of [...] floats, with the dividend's sign."""
    a, b = operands(dividend, divisor)
    x, y = a.abs(), b.abs()
    whole = torch.floor(x / y)
    left = _left(x, whole, y)
    whole = torch.where(left < 0.0, whole - 1.0, torch.where(left >= y, whole + 1.0, whole))
    left = torch.where(x < y, x, _left(x, whole, y))
    return torch.where(a < 0.0, -left, left).to(result_type(dividend, divisor))


def _float_type(a: Any, b: Any) -> torch.dtype:
    dtype = result_type(a, b)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def _left(x: torch.Tensor, q: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return x - q y, of a ``q`` within some last digits of x / y, or of a whole one."""
    product = q * y
    (q_high, q_low), (y_high, y_low) = _halves(q), _halves(y)
    error = ((q_high * y_high - product) + q_high * y_low + q_low * y_high) + q_low * y_low
    return (x - product) - error


def _halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two floats of 12 bits each whose sum is ``x``, of float32."""
    scaled = x * 4097.0
    high = scaled - (scaled - x)
    return high, x - high
