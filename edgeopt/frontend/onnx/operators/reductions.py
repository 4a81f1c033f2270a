"""Reductions over axes, arg-extrema, sorting and running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates

_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keep, dtype=x.dtype),
    "ReduceMean": torch.mean,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": lambda x, axes, keep: _one_by_one(x, axes, keep),
    "ReduceL1": lambda x, axes, keep: torch.sum(x.abs(), axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep)),
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keep)),
    "ReduceLogSumExp": torch.logsumexp,
}


def _one_by_one(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep, dtype=x.dtype)
    return x


@translates(*_REDUCTIONS, numbers=(1,))
def reduce(call: Call, x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Axes are an attribute, and an input since opset 13 or 18; without any, all are reduced."""
    axes = axes if axes is not None else call.get("axes")
    if not axes:
        if call.get("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.dim()))
    return _REDUCTIONS[call.op](x, list(axes), bool(call.get("keepdims", 1))) if axes else x


@translates("ArgMax", "ArgMin")
def arg_extremum(call: Call, x: Tensor) -> Tensor:
    """Of equal elements the first, or the last."""
    axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
    find = torch.argmax if call.op == "ArgMax" else torch.argmin
    if not call.get("select_last_index", 0):
        return find(x, axis, keepdim=keep)
    last: Tensor = x.shape[axis] - 1 - find(torch.flip(x, [axis]), axis, keepdim=keep)
    return last


@translates("TopK", numbers=(1,))
def top_k(call: Call, x: Tensor, k: list[int]) -> Any:
    """The largest or smallest along an axis, and their indices."""
    found = torch.topk(x, k[0], call.get("axis", -1), bool(call.get("largest", 1)), bool(call.get("sorted", 1)))
    return found.values, found.indices


@translates("CumSum", numbers=(1,))
def running_sum(call: Call, x: Tensor, axis: list[int]) -> Tensor:
    """From either end, each element within its own sum or not."""
    where = axis[0] % x.dim()
    turned = torch.flip(x, [where]) if call.get("reverse", 0) else x
    sums = torch.cumsum(turned, where, dtype=x.dtype)
    if call.get("exclusive", 0):
        sums = sums - turned
    return torch.flip(sums, [where]) if call.get("reverse", 0) else sums


@translates("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    """Over one axis since opset 13; before, over all axes from ``axis`` on, taken as one."""
    functions: dict[str, Callable[..., Tensor]] = {
        "Softmax": F.softmax,
        "LogSoftmax": F.log_softmax,
        "Hardmax": _hardmax,
    }
    function = functions[call.op]
    if call.opset >= 13:
        return function(x, dim=call.get("axis", -1))
    axis = call.get("axis", 1) % x.dim()
    if axis == x.dim() - 1:
        return function(x, dim=-1)
    return function(x.flatten(axis), dim=-1).reshape(x.shape)


def _hardmax(x: Tensor, dim: int) -> Tensor:
    index = torch.argmax(x, dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, index, 1.0)
