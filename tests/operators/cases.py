"""A case: one operator with its arguments, and what torch makes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import nn

from edgeopt.ir.program import to_numpy

_STEPS = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}
"""What rounding to a type costs, relative: targets may compute in float32 instead, and say so."""


@dataclass(frozen=True, eq=False)
class Case:
    """``run(*operands)`` calls the operator; what of its result is a tensor is compared."""

    operator: str
    label: str
    run: Callable[..., Any]
    operands: tuple[torch.Tensor, ...]

    @property
    def name(self) -> str:
        return f"{self.operator} {self.label}"

    @property
    def orders_nan(self) -> bool:
        """Whether it looks for the place of the largest or smallest value, and NaN is among them."""
        return "argm" in self.operator and any(bool(x.isnan().any()) for x in self.operands)

    def results(self, operands: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """Return the tensors that the operator returns, in order."""
        given = self.operands if operands is None else operands
        leaves = pytree.tree_leaves(self.run(*(operand.clone() for operand in given)))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def expected(self) -> list[np.ndarray]:
        """Return what torch eager computes."""
        with torch.no_grad():
            return [to_numpy(result) for result in self.results()]

    def noise(self, expected: Sequence[np.ndarray]) -> list[float]:
        """Return by output how far float32 lies from float64, relative to the largest value; 0 where it cannot tell."""
        run = copy.deepcopy(self.run).double() if isinstance(self.run, nn.Module) else self.run
        try:
            with torch.no_grad():
                wide = replace(self, run=run).results(
                    [x.double() if x.dtype == torch.float32 else x for x in self.operands]
                )
        except Exception:
            return [0.0] * len(expected)
        coarse = [_STEPS.get(result.dtype, 0.0) for result in wide]
        return [max(step, _distance(to_numpy(w), e)) for step, w, e in zip(coarse, wide, expected, strict=True)]


def case(operator: str, label: str, run: Callable[..., Any], *operands: torch.Tensor) -> Case:
    """Return a case of a function or of a module, which is put into evaluation mode."""
    return Case(operator, label, run.eval() if isinstance(run, nn.Module) else run, operands)


def call(function: Callable[..., Any], **given: Any) -> Callable[..., Any]:
    """Return a function of tensors alone."""
    return lambda *operands: function(*operands, **given)


class SideBySide(nn.Module):
    """Many cases in one module: their operands one after another, their results by ``index_place``."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self.cases = list(cases)
        self.layers = nn.ModuleList([case.run for case in cases if isinstance(case.run, nn.Module)])

    def forward(self, *operands: torch.Tensor) -> dict[str, torch.Tensor]:
        results, start = {}, 0
        for index, case in enumerate(self.cases):
            own = operands[start : start + len(case.operands)]
            start += len(case.operands)
            leaves = pytree.tree_leaves(case.run(*own))
            tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            results.update({f"{index}_{place}": tensor for place, tensor in enumerate(tensors)})
        return results


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape or other.dtype.kind != "f" or not other.size:
        return 0.0
    with np.errstate(all="ignore"):
        finite = np.isfinite(one) & np.isfinite(other)
        scale = np.abs(other[finite]).max(initial=0.0)
        return float(np.abs(one[finite] - other[finite]).max(initial=0.0) / scale) if scale else 0.0
