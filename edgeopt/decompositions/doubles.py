"""Numbers of a model that computes in float64, with all their digits.

Exporters store in float32 what the model's code states as a number, and numbers of an operator's own such as ln 2. So
they become constants of the program in float64, and operators that take no constant are written by those that do::

    x * 0.1  =>  x * constant        x + 0.1 y  =>  x + y * constant

Numbers that float32 holds stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._decomp import get_decompositions
from torch.nn import functional

from edgeopt.decompositions.writing_out import replace_by
from edgeopt.errors import Placement
from edgeopt.ir.nodes import Target, aten
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import NORMS

Write = Callable[..., Any]

_COMPARISONS = (aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge)
_OF_TENSORS: Mapping[Target, Target] = {
    **{op.Tensor: op.Tensor for op in (aten.mul, aten.multiply, aten.div, aten.true_divide)},
    aten.div.Tensor_mode: aten.div.Tensor_mode,
    **{op.Scalar: op.Tensor for op in (*_COMPARISONS, aten.fmod, aten.remainder)},
    aten.pow.Scalar: aten.pow.Tensor_Tensor,
    aten.pow.Tensor_Scalar: aten.pow.Tensor_Tensor,
    **{op.default: op.Tensor for op in (aten.clamp, aten.clamp_min, aten.clamp_max)},
    **dict.fromkeys((aten.where.Scalar, aten.where.ScalarOther, aten.where.ScalarSelf), aten.where.self),
}
"""Operators of numbers, by those that take a constant without dimensions instead."""

_BY_TORCH = (
    *(aten.addcdiv.default, aten.addcmul.default, aten.addmm.default, aten.baddbmm.default, aten.lerp.Scalar),
    *(aten.celu.default, aten.leaky_relu.default, aten.selu.default, aten.threshold.default, aten.hardtanh.default),
    *(aten.hardshrink.default, aten.softshrink.default, aten.hardsigmoid.default, aten.hardswish.default),
    *(aten.logit.default, aten.nan_to_num.default),
)
"""Operators of which torch has a plain form, in which their numbers stand beside tensors."""

_WITH_NUMBERS = (
    *(aten.log2.default, aten.log10.default, aten.rad2deg.default, aten.deg2rad.default),
    *(aten.selu.default, aten.hardsigmoid.default, aten.hardswish.default),
)
"""Operators with numbers of their own that float32 does not hold."""

_KEPT = (aten.pad.default, aten.constant_pad_nd.default, *NORMS, aten.batch_norm.default)
"""Operators whose numbers exporters store in the tensor's type, and norms, of which epsilon alone is in float32: off by
1e-8 of itself, and small beside what it is added to."""


def with_all_digits(program: Program) -> list[Placement]:
    """Replace, in place, numbers that float32 does not hold where the program computes in float64.

    Returns the nodes whose numbers would lose digits nevertheless.
    """
    lossy: list[Placement] = []
    pending = [node for node in program.calls if _loses(node)]
    while pending:
        for node in pending:
            write = _form(node)
            if write is None:
                lossy.append(Placement(node.name, op_name(node), "ONNX stores its number in float32, not in float64"))
            else:
                replace_by(program, node, write)
        known = {placement.node for placement in lossy}
        pending = [node for node in program.calls if node.name not in known and _loses(node)]
    return lossy


def _loses(node: fx.Node) -> bool:
    """Return whether a call computes in float64 with a number that float32 does not hold."""
    values = (used.meta.get("val") for used in (node, *node.all_input_nodes))
    if not any(isinstance(value, torch.Tensor) and value.dtype == torch.float64 for value in values):
        return False
    return node.target in _WITH_NUMBERS or (node.target not in _KEPT and any(map(_is_lost, _numbers(node))))


def _numbers(node: fx.Node) -> list[float]:
    """Return the numbers among a call's arguments, sizes and places apart."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
        return []
    given = arguments(node)
    of_numbers = [argument for argument in node.target._schema.arguments if _is_number(str(argument.type))]
    return [value for one in of_numbers if isinstance(value := given[one.name], int | float)]


def _is_number(type_: str) -> bool:
    # Canonical programs hold numbers in place of tensors, as in x * 0.1.
    return type_.removeprefix("Optional[").removesuffix("]") in ("number", "float", "Tensor")


def _is_lost(number: float) -> bool:
    with np.errstate(over="ignore"):
        return not math.isnan(number) and float(np.float32(number)) != number


def _form(node: fx.Node) -> Write | None:
    """Return what writes an operator by others that take constants; None where nothing is known."""
    target: Any = node.target
    if target in _OF_TENSORS:
        return _of_tensors(_OF_TENSORS[target])
    if target in _BY_TORCH:
        return _called(target, get_decompositions([target])[target])
    # Without inputs it is computed here.
    return _OWN.get(target) or (None if node.all_input_nodes else _called(target, target))


def _called(target: torch._ops.OpOverload, write: Write) -> Write:
    """Return ``write`` as a function of all arguments in the schema's order, some of which it takes by name."""
    by_name = [argument.name for argument in target._schema.arguments if argument.kwarg_only]

    def called(*given: Any) -> Any:
        count = len(given) - len(by_name)
        return write(*given[:count], **dict(zip(by_name, given[count:], strict=True)))

    return called


def _of_tensors(target: Any) -> Write:
    def write(*given: Any) -> Any:
        return target(*(_constant(value) if isinstance(value, float | int) else value for value in given))

    return write


def _constant(number: float) -> torch.Tensor:
    return torch.full((), number, dtype=torch.float64)


# -- forms that torch has not ----------------------------------------------------------------------------


def _tensor(value: torch.Tensor | float) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else _constant(value)


def _times(value: torch.Tensor | float, factor: float) -> torch.Tensor:
    return _tensor(value) if factor == 1 else _tensor(value) * _constant(factor)


def _like(x: torch.Tensor, number: float, *_: Any) -> torch.Tensor:
    return torch.zeros_like(x, dtype=torch.float64) + _constant(number)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    *others: Any,
) -> torch.Tensor:
    scale, is_grouped = others
    scaled = query * _constant(scale)
    return functional.scaled_dot_product_attention(
        scaled, key, value, mask, dropout_p, is_causal, scale=1.0, enable_gqa=is_grouped
    )


_OWN: Mapping[Target, Write] = {
    aten.add.Tensor: lambda x, y, alpha: _tensor(x) + _times(y, alpha),
    aten.sub.Tensor: lambda x, y, alpha: _tensor(x) - _times(y, alpha),
    aten.subtract.Tensor: lambda x, y, alpha: _tensor(x) - _times(y, alpha),
    aten.rsub.Scalar: lambda x, y, alpha: _constant(y) - _times(x, alpha),
    aten.masked_fill.Scalar: lambda x, mask, number: torch.where(mask, _constant(number), x),
    aten.full.default: lambda size, number, *_: torch.zeros(size, dtype=torch.float64) + _constant(number),
    aten.new_full.default: lambda x, size, number, *_: torch.zeros(size, dtype=torch.float64) + _constant(number),
    aten.scalar_tensor.default: lambda number, *_: _constant(number),
    aten.fill.Scalar: _like,
    aten.full_like.default: _like,
    aten.log2.default: lambda x: torch.log(x) / _constant(math.log(2)),
    aten.log10.default: lambda x: torch.log(x) / _constant(math.log(10)),
    aten.rad2deg.default: lambda x: x * _constant(180 / math.pi),
    aten.deg2rad.default: lambda x: x * _constant(math.pi / 180),
    aten.scaled_dot_product_attention.default: _attention,
}
