"""Reductions that compute in another type than their operand's: the operand is converted first.

    op(x, dtype=d)  =>  op(x.to(d))

Sums and products of booleans and narrow integers are int64 where no type is asked for. torch converts before it
computes; exporters convert afterwards, when integers have been divided or have overflowed, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten

_OPERATORS = (
    aten.softmax.int,
    aten.log_softmax.int,
    aten.cumsum.default,
    aten.cumprod.default,
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.nansum.default,
    aten.prod.default,
    aten.prod.dim_int,
    aten.mean.default,
    aten.mean.dim,
)
"""Operators whose last argument is the type to compute in."""


def _computed(x: torch.Tensor, dtype: torch.dtype | None) -> torch.dtype:
    is_narrow = not (x.is_floating_point() or x.is_complex())
    return dtype or (torch.int64 if is_narrow else x.dtype)


def _converts(given: Arguments) -> bool:
    x: torch.Tensor = given["self"]
    return _computed(x, given["dtype"]) != x.dtype


def _after_conversion(target: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def write(x: torch.Tensor, *given: Any) -> torch.Tensor:
        *others, dtype = given
        return target(x.to(_computed(x, dtype)), *others)

    return write


for _target in _OPERATORS:
    decomposes(_target, where=_converts)(_after_conversion(_target))
