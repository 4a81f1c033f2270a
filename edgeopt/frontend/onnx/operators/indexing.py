"""Operators that read and write at indices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates
from edgeopt.frontend.onnx.values import Known, Value, tensor


def _counted(index: Tensor, size: int) -> Tensor:
    """Return indices as counted from the start: ONNX counts negative ones from the end."""
    return torch.where(index < 0, index + size, index)


@translates("Gather", raw=(1,))
def gather(call: Call, x: Tensor, index: Value) -> Tensor:
    """Slices along an axis: one at a place that is known, rows of a table (an embedding), or any others."""
    axis = call.get("axis", 0) % x.dim()
    if isinstance(index, Known) and index.array.ndim == 0:
        return torch.select(x, axis, index.array.item())
    places = tensor(index).to(torch.int64)
    if not isinstance(index, Known) or (index.array < 0).any():
        places = _counted(places, x.shape[axis])
    if axis == 0 and x.dim() == 2 and x.is_floating_point():
        return F.embedding(places, x)
    taken = torch.index_select(x, axis, places.reshape(-1))
    return taken.reshape([*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]])


@translates("GatherElements")
def gather_elements(call: Call, x: Tensor, index: Tensor) -> Tensor:
    """One element for each index."""
    axis = call.get("axis", 0)
    return torch.gather(x, axis, _counted(index.to(torch.int64), x.shape[axis]))


@translates("GatherND")
def gather_nd(call: Call, x: Tensor, index: Tensor) -> Tensor:
    """Slices at index tuples; the first ``batch_dims`` axes are shared."""
    batch, depth = call.get("batch_dims", 0), index.shape[-1]
    places = [_counted(index[..., k], x.shape[batch + k]) for k in range(depth)]
    for axis in range(batch):
        shape = [-1 if k == axis else 1 for k in range(index.dim() - 1)]
        places.insert(axis, torch.arange(x.shape[axis]).reshape(shape))
    return x[tuple(places)]


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@translates("ScatterElements")
def scatter_elements(call: Call, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """One element for each index; ``reduction`` combines it with what stands there."""
    axis, reduction = call.get("axis", 0), call.get("reduction", "none")
    index = _counted(index.to(torch.int64), x.shape[axis])
    if reduction == "none":
        return torch.scatter(x, axis, index, updates)
    return torch.scatter_reduce(x, axis, index, updates, _REDUCTIONS[reduction])


@translates("ScatterND")
def scatter_nd(call: Call, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """Slices at index tuples."""
    call.require("reduction", "none", "add")
    places = tuple(_counted(index[..., k], x.shape[k]) for k in range(index.shape[-1]))
    return torch.index_put(x, places, updates, accumulate=call.get("reduction", "none") == "add")


@translates("OneHot", numbers=(1,))
def one_hot(call: Call, index: Tensor, depth: list[int], values: Tensor) -> Tensor:
    """A row of ``off`` with one ``on``; indices outside have none."""
    axis = call.get("axis", -1)
    axis = axis + index.dim() + 1 if axis < 0 else axis
    index = _counted(index.to(torch.int64), depth[0]).unsqueeze(axis)
    shape = [-1 if k == axis else 1 for k in range(index.dim())]
    return torch.where(index == torch.arange(depth[0]).reshape(shape), values[1], values[0])


@translates("NonZero")
def non_zero(call: Call, x: Tensor) -> Tensor:
    """Indices of what is not zero, one column each."""
    return torch.nonzero(x).t()
