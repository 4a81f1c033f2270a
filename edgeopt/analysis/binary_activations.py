"""Activations of two values, as binary networks write them: factor * sign(slope * x + shift) + offset.

    sign(y)                        where(y >= t, a, b)                (y >= t) as numbers, 1 and 0
    sign(y) * factor + offset      (sign(y) - c) + c, c any value: how a gradient is passed straight through
    clamp(round(y), 0, 1)          as attention's weights are rounded to one bit: a half goes to zero

y may be what constants make of x per channel: a learned shift, a BatchNorm.

Sources: X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024; Z. Liu et al., ReActNet: Towards
Precise Binary Neural Network with Generalized Activation Functions, ECCV 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import fx

from edgeopt.analysis.affine_folds import Affine
from edgeopt.analysis.affine_maps import compose
from edgeopt.analysis.layers import describe
from edgeopt.ir.nodes import aten, node_arg
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import AT_LEAST, AT_MOST, DTYPE_CASTS, FACTORS, SUMS

_CHOICES = (aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther)
_NEVER_NEGATIVE = (aten.relu.default, aten.sigmoid.default, aten.softmax.int, aten.abs.default, aten.exp.default)


@dataclass(frozen=True)
class Signs:
    """``factor * sign(slope * x + shift) + offset``; slope and shift have one element or one per channel of ``axis``.

    ``gives_zero``: whether the sign of zero is zero.
    """

    x: fx.Node
    slope: torch.Tensor
    shift: torch.Tensor
    axis: int | None
    factor: float = 1.0
    offset: float = 0.0
    gives_zero: bool = False

    @property
    def refused(self) -> str | None:
        """Why signs of one bit would not stand for it, if so."""
        if self.gives_zero and self.x.target in _NEVER_NEGATIVE and not self.shift.any():
            return f"{describe(self.x)} is never negative, and its sign is 0 where it is 0"
        return None


def signs_of(program: Program, node: fx.Node) -> Signs | None:
    """Return what ``node`` computes if it takes two values, else nothing."""
    if node.target is aten.sign.default:
        return replace(_of(program, node_arg(node, 0), 0.0), gives_zero=True)
    if node.target in DTYPE_CASTS:
        return _bits(program, node.args[0])
    if node.target in _CHOICES:
        return _chosen(program, node)
    if node.target is aten.clamp.default:
        return _rounded(program, node)
    if node.target in (*SUMS, *FACTORS):
        return _passed_through(program, node) or _scaled(program, node)
    return None


def _of(program: Program, y: fx.Node, threshold: float) -> Signs:
    found = compose(program, y)
    if isinstance(found, str) or not bool((found.scale != 0).all()):
        found = Affine(y, y, torch.ones(1).double(), torch.zeros(1).double(), None)
    return Signs(found.x, found.scale, found.shift - threshold, found.axis)


def _bits(program: Program, condition: object) -> Signs | None:
    """Return one and zero: a comparison with a number."""
    if not isinstance(condition, fx.Node) or condition.target not in (*AT_LEAST, *AT_MOST):
        return None
    found = _of(program, node_arg(condition, 0), float(arguments(condition)["other"]))
    return replace(found, factor=0.5 if condition.target in AT_LEAST else -0.5, offset=0.5)


def _chosen(program: Program, node: fx.Node) -> Signs | None:
    condition, high, low = (node.args[0], *(_number(program, value) for value in node.args[1:3]))
    bits = _bits(program, condition)
    if bits is None or high is None or low is None:
        return None
    return replace(bits, factor=bits.factor * (high - low), offset=(high + low) / 2)


def _rounded(program: Program, node: fx.Node) -> Signs | None:
    """Return one and zero: a number rounded and held between them."""
    given = arguments(node)
    y = given["self"]
    if (given["min"], given["max"]) != (0, 1) or y.target is not aten.round.default:
        return None
    return replace(_of(program, y.args[0], 0.5), factor=0.5, offset=0.5)


def _passed_through(program: Program, node: fx.Node) -> Signs | None:
    """Return the signs s of (s - c) + c or c + (s - c)."""
    if node.target is not aten.add.Tensor or arguments(node)["alpha"] != 1:
        return None
    for difference, other in (node.args[:2], node.args[1::-1]):
        if isinstance(difference, fx.Node) and difference.target is aten.sub.Tensor:
            s, c = difference.args[:2]
            if c is other and arguments(difference)["alpha"] == 1 and isinstance(s, fx.Node):
                return signs_of(program, s)
    return None


def _scaled(program: Program, node: fx.Node) -> Signs | None:
    """Return signs times a number, or plus one."""
    first, second = node.args[:2]
    turned = isinstance(second, fx.Node) and program.constant(second) is None
    if turned and node.target not in (aten.mul.Tensor, aten.add.Tensor):
        return None
    value, number = (second, _number(program, first)) if turned else (first, _number(program, second))
    inner = signs_of(program, value) if isinstance(value, fx.Node) else None
    if number is None or inner is None:
        return None
    if node.target in SUMS:
        sign = arguments(node)["alpha"] * (1 if node.target is aten.add.Tensor else -1)
        return replace(inner, offset=inner.offset + number * sign) if sign == 1 or not turned else None
    factor = number if node.target is aten.mul.Tensor else 1 / number
    return replace(inner, factor=inner.factor * factor, offset=inner.offset * factor)


def _number(program: Program, value: object) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    constant = program.constant(value) if isinstance(value, fx.Node) else None
    return float(constant) if constant is not None and constant.numel() == 1 else None
