"""Largest and smallest values: ONNX has none along the axis of a tensor without axes, and not both at once. Runtimes
clamp with the largest finite number where a bound is absent, and infinity becomes that.

max(x, 0), min(x, 0)    =>  x, 0                        of a tensor without axes
amax(x, []), amin(x)    =>  the same along all axes;    x where there are none
aminmax(x)              =>  amin(x), amax(x)
clamp(x, min=0)         =>  relu(x)
clamp(x, min=c)         =>  maximum(x, c)     and max alike
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _is_number(given: Arguments) -> bool:
    return bool(given["self"].dim() == 0)


@decomposes(aten.max.dim, aten.min.dim, where=_is_number)
def extremum(x: torch.Tensor, _dim: int, _keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the one value of ``x`` [] and its place []."""
    return x.clone(), torch.zeros((), dtype=torch.int64)


def _names_no_axis(given: Arguments) -> bool:
    return _is_number(given) or not given["dim"]


@decomposes(aten.amax.default, where=_names_no_axis)
def largest(x: torch.Tensor, _dims: Sequence[int], keepdim: bool) -> torch.Tensor:
    """Return the largest value of ``x`` [...]."""
    return x.amax(list(range(x.dim())), keepdim) if x.dim() else x.clone()


@decomposes(aten.amin.default, where=_names_no_axis)
def smallest(x: torch.Tensor, _dims: Sequence[int], keepdim: bool) -> torch.Tensor:
    """Return the smallest value of ``x`` [...]."""
    return x.amin(list(range(x.dim())), keepdim) if x.dim() else x.clone()


@decomposes(aten.aminmax.default)
def extrema(x: torch.Tensor, dim: int | None, keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smallest and the largest values of ``x`` [...]."""
    if x.dim() == 0:
        return x.clone(), x.clone()
    dims = list(range(x.dim())) if dim is None else [dim]
    return x.amin(dims, keepdim), x.amax(dims, keepdim)


def _has_one_bound(given: Arguments) -> bool:
    is_float: bool = given["self"].is_floating_point()
    return is_float and (given.get("min") is None) != (given.get("max") is None)


@decomposes(aten.clamp.default, where=_has_one_bound)
def clamped(x: torch.Tensor, least: float | None, most: float | None) -> torch.Tensor:
    """Return ``x`` [...] within its one bound."""
    if least is not None:
        return clamped_below(x, least)
    assert most is not None
    return clamped_above(x, most)


@decomposes(aten.clamp_min.default, where=_has_one_bound)
def clamped_below(x: torch.Tensor, least: float) -> torch.Tensor:
    """Return ``x`` [...], no value below ``least``."""
    return x.relu() if least == 0 else torch.maximum(x, torch.full((), least, dtype=x.dtype))


@decomposes(aten.clamp_max.default, where=_has_one_bound)
def clamped_above(x: torch.Tensor, most: float) -> torch.Tensor:
    """Return ``x`` [...], no value above ``most``."""
    return torch.minimum(x, torch.full((), most, dtype=x.dtype))
