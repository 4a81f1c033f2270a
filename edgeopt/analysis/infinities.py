"""Which values of a program may be infinite though its inputs are finite, and what makes NaN of that.

Infinities come from constants, from numbers that a call is given (``masked_fill(x, mask, -inf)``), and from a
logarithm, an inverse or a root of 0. That sums, products and exponentials overflow is left out: anything might.

    0 * inf,  inf - inf,  inf / inf,  softmax over -inf alone  =>  NaN
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import fx

from edgeopt.analysis.float_ranges import ANYTHING, Range, is_float
from edgeopt.analysis.integer_ranges import hands_on
from edgeopt.analysis.integer_rules import schema_name
from edgeopt.ir.program import Program


@dataclass(frozen=True)
class Infinite:
    """Whether a value may hold infinity, minus infinity, and nothing else along a whole last axis than the latter."""

    above: bool = False
    below: bool = False
    fills: bool = False

    def __or__(self, other: Infinite) -> Infinite:
        return Infinite(self.above or other.above, self.below or other.below, self.fills or other.fills)

    def __bool__(self) -> bool:
        return self.above or self.below

    def negated(self) -> Infinite:
        """Return what its negative may hold."""
        return Infinite(self.below, self.above, self.above)


FINITE = Infinite()
_BOTH = Infinite(True, True, True)


def make_nan(program: Program, ranges: Mapping[fx.Node, Range]) -> set[fx.Node]:
    """Return the calls that may make NaN of an infinity that they read.

    ``ranges``: of finite values, see ``float_ranges_of``. What is NaN is not followed further.
    """
    found: dict[fx.Node, Infinite] = {}
    makers = set()
    for node in filter(is_float, program.graph.nodes):
        constant = program.constant(node)
        if constant is not None:
            found[node] = _of_constant(constant)
        elif node.op == "call_function":
            found[node], makes_nan = _Call(program, node, found, ranges).result()
            makers |= {node} if makes_nan else set()
    return makers


def _of_constant(tensor: torch.Tensor) -> Infinite:
    below = tensor == -inf
    is_below = bool(below.any())
    return Infinite(bool((tensor == inf).any()), is_below, is_below and bool(below.all(-1).any()))


@dataclass(frozen=True)
class _Call:
    program: Program
    node: fx.Node
    found: Mapping[fx.Node, Infinite]
    ranges: Mapping[fx.Node, Range]

    def result(self) -> tuple[Infinite, bool]:
        """Return what a call may hold, and whether it may be NaN by an infinity that it reads."""
        name = schema_name(self.node).removeprefix("aten::")
        if name in _RULES:
            return _RULES[name](self)
        read = self.held(*self.node.args)
        if hands_on(self.node) or name in _KEEPS:
            return read, False
        return FINITE, bool(read) and name in _TO_NAN

    def held(self, *arguments: Any) -> Infinite:
        """Return what arguments may hold together: nodes, numbers or lists of them."""
        result = FINITE
        for argument in arguments:
            if isinstance(argument, list | tuple):
                result |= self.held(*argument)
            elif isinstance(argument, fx.Node):
                result |= self.found.get(argument, FINITE)
            elif isinstance(argument, float):
                result |= Infinite(argument == inf, argument == -inf, argument == -inf)
        return result

    def range(self, argument: Any) -> Range:
        """Return between what an argument's finite values lie."""
        return self.ranges.get(argument, ANYTHING) if isinstance(argument, fx.Node) else (argument, argument)


# -- rules -------------------------------------------------------------------------------------------------

Rule = Callable[[_Call], tuple[Infinite, bool]]


def _added(call: _Call) -> tuple[Infinite, bool]:
    a, b = (call.held(argument) for argument in call.node.args[:2])
    b = b.negated() if schema_name(call.node) == "aten::sub" else b
    return a | b, (a.above and b.below) or (a.below and b.above)


def _multiplied(call: _Call) -> tuple[Infinite, bool]:
    left, right = call.node.args[:2]
    held, makes_nan = FINITE, False
    for one, other in ((left, right), (right, left)):
        infinite, (low, high) = call.held(one), call.range(other)
        makes_nan |= bool(infinite) and low <= 0 <= high
        held |= (infinite if high > 0 else FINITE) | (infinite.negated() if low < 0 else FINITE)
    return held, makes_nan


def _divided(call: _Call) -> tuple[Infinite, bool]:
    over, by = call.node.args[:2]
    infinite, (low, high) = call.held(over), call.range(by)
    held = (infinite if high > 0 else FINITE) | (infinite.negated() if low < 0 else FINITE)
    return (_BOTH if low <= 0 <= high else held), bool(infinite) and bool(call.held(by))


def _summed(call: _Call) -> tuple[Infinite, bool]:
    held = call.held(call.node.args[0])
    return held, held.above and held.below


def _softmax(call: _Call) -> tuple[Infinite, bool]:
    held = call.held(call.node.args[0])
    is_log = "log" in schema_name(call.node)
    return Infinite(below=is_log and held.below), held.above or held.fills


def _filled(call: _Call) -> tuple[Infinite, bool]:
    x, mask, value = call.node.args[:3]
    return call.held(x) | _where(call, mask, call.held(value)), False


def _chosen(call: _Call) -> tuple[Infinite, bool]:
    condition, one, other = call.node.args[:3]
    return _where(call, condition, call.held(one)) | _where(call, condition, call.held(other), False), False


def _where(call: _Call, condition: Any, held: Infinite, of: bool = True) -> Infinite:
    """Return what a value may hold that stands where a condition is ``of``: a constant one tells whole axes."""
    mask = call.program.constant(condition)
    fills = held.fills and (mask is None or bool((mask == of).all(-1).any()))
    return Infinite(held.above, held.below, fills)


def _at_zero(held: Infinite) -> Rule:
    """What 0 gives, where the operand may be 0."""

    def rule(call: _Call) -> tuple[Infinite, bool]:
        low, high = call.range(call.node.args[0])
        return held if low <= 0 <= high else FINITE, False

    return rule


def _mapped(change: Callable[[Infinite], Infinite]) -> Rule:
    return lambda call: (change(call.held(call.node.args[0])), False)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("add", "sub"), _added),
    "mul": _multiplied,
    "div": _divided,
    **dict.fromkeys(("sum", "mean", "cumsum"), _summed),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    "masked_fill": _filled,
    "where": _chosen,
    "neg": _mapped(Infinite.negated),
    "abs": _mapped(lambda held: Infinite(above=bool(held))),
    **dict.fromkeys(("relu", "exp", "exp2", "softplus"), _mapped(lambda held: Infinite(above=held.above))),
    **dict.fromkeys(("log", "log2", "log10"), _at_zero(Infinite(below=True, fills=True))),
    "rsqrt": _at_zero(Infinite(above=True)),
    "reciprocal": _at_zero(_BOTH),
}

_KEEPS = frozenset(
    (
        "full",
        "full_like",
        "scalar_tensor",
        "pad",
        "constant_pad_nd",
        "max_pool1d",
        "max_pool2d",
        "upsample_nearest2d",
        "to",
    )
)
"""What holds infinities where what it reads, or is given, does."""

_TO_NAN = frozenset(
    (
        *("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "conv1d", "conv2d", "conv3d"),
        *("layer_norm", "rms_norm", "group_norm", "batch_norm", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d"),
        *("var", "std", "upsample_bilinear2d", "silu", "gelu", "mish", "sin", "cos", "tan", "fmod", "remainder"),
    )
)
"""What may make NaN of an infinity: it sums such, multiplies them by 0, or has no limit."""
