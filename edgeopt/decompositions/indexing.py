"""Gathers and scatters whose index is smaller than the data, and scatters that reduce otherwise than by adding.

    gather(x, dim, index)               =>  gather(x, dim, index padded to x but for dim)[:n0, :n1, ...]
    scatter(x, dim, index, src)         =>  scatter(x, dim, index, src[:n0, :n1, ...]),
    scatter_reduce(x, .., "mean")       =>  (x or 0 + sum of src) / number of terms
    scatter_reduce(.., include_self=False)  =>  the same from the neutral element, at places that the index names

with n the sizes of the index. ONNX knows the smaller index, but not every runtime does, or keeps a slice before a
gather; ONNX has no mean, and no way to leave the data's own value out.

Source: torch, documentation of ``torch.gather``, ``Tensor.scatter_reduce`` and ``Tensor.index_reduce``.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _sizes(index: torch.Tensor) -> tuple[slice, ...]:
    """Return what cuts a tensor to the sizes of the index."""
    return tuple(slice(0, size) for size in index.shape)


def _is_smaller(given: Arguments) -> bool:
    x, index = given["self"], given["index"]
    others = [axis for axis in range(index.dim()) if axis != given["dim"] % max(index.dim(), 1)]
    return bool(index.dim() == x.dim()) and any(index.shape[axis] != x.shape[axis] for axis in others)


def _has_more_values(given: Arguments) -> bool:
    source, index = given["src"], given["index"]
    return bool(source.shape != index.shape and index.dim() > 0)


@decomposes(aten.gather.default, where=_is_smaller)
def gather(x: torch.Tensor, dim: int, index: torch.Tensor, _sparse_grad: bool) -> torch.Tensor:
    """Return x[.., index, ..]: of the sizes of ``index``, which may be smaller than those of ``x``."""
    missing = [0 if axis == dim % x.dim() else x.shape[axis] - index.shape[axis] for axis in range(x.dim())]
    padded = functional.pad(index, [width for size in reversed(missing) for width in (0, size)])
    return x.gather(dim, padded)[_sizes(index)]


@decomposes(aten.scatter.src, where=_has_more_values)
def scatter(x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor) -> torch.Tensor:
    """Return ``x`` with values of ``src`` at ``index``."""
    return x.scatter(dim, index, src[_sizes(index)])


@decomposes(aten.scatter_add.default, where=_has_more_values)
def scatter_add(x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor) -> torch.Tensor:
    """Return ``x`` with values of ``src`` added at ``index``."""
    return x.scatter_add(dim, index, src[_sizes(index)])


def _reduces_otherwise(given: Arguments) -> bool:
    return given["reduce"] == "mean" or not given["include_self"] or _has_more_values(given)


@decomposes(aten.scatter_reduce.two, where=_reduces_otherwise)
def scatter_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor, reduce: str, include_self: bool
) -> torch.Tensor:
    """Return ``x`` reduced with values of ``src`` at ``index`` by sum, prod, mean, amax or amin."""
    src = src[_sizes(index)]
    ones = torch.ones_like(src, dtype=torch.int64)
    count = torch.zeros_like(x, dtype=torch.int64).scatter_add(dim, index, ones)
    start = x if include_self else torch.where(count > 0, _neutral(reduce, x.dtype), x)
    if reduce != "mean":
        return start.scatter_reduce(dim, index, src, reduce)
    terms = (count + 1 if include_self else count.clamp(min=1)).to(x.dtype)
    total = start.scatter_add(dim, index, src)
    return total / terms if x.is_floating_point() else total.div(terms, rounding_mode="floor")


@decomposes(aten.diagonal_scatter.default)
def diagonal_scatter(x: torch.Tensor, src: torch.Tensor, offset: int, dim1: int, dim2: int) -> torch.Tensor:
    """Return ``x`` with ``src`` [.., L] on the diagonal of two of its axes."""
    turned = x.movedim((dim1, dim2), (-2, -1))
    width, place = turned.shape[-1], torch.arange(src.shape[-1])
    index = (place + max(-offset, 0)) * width + place + max(offset, 0)
    flat = turned.flatten(-2).scatter(-1, index.expand(src.shape), src)
    return flat.reshape(turned.shape).movedim((-2, -1), (dim1, dim2))


@decomposes(aten.index_reduce.default)
def index_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, reduce: str, include_self: bool
) -> torch.Tensor:
    """Return ``x`` with the slices of ``source`` [.., len(index), ..] reduced into those that ``index`` [n] names."""
    wide = index.reshape([-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())]).expand(source.shape)
    return scatter_reduce(x, dim, wide, source, reduce, include_self)


def _neutral(reduce: str, dtype: torch.dtype) -> float | int:
    """Return what changes nothing where it takes part."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    if reduce == "amax":
        return -torch.inf if dtype.is_floating_point else int(limits.min)
    return torch.inf if dtype.is_floating_point else int(limits.max)
