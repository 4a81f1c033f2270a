"""Resize: by torch's own interpolation where it is the same, else by weights of neighbors along each axis.

Source: ONNX, docs/Operators.md, Resize; onnx/reference/ops/op_resize.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from edgeopt.frontend.onnx.call import Call, translates
from edgeopt.frontend.onnx.values import Array

_MODES = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
_COORDINATES: dict[str, Callable[[Array, float, int, int], Array]] = {
    "half_pixel": lambda at, scale, size, out: (at + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda at, scale, size, out: (
        size / 2 * (1 - out / (scale * size)) + (at + 0.5) / scale - 0.5
    ),
    "pytorch_half_pixel": lambda at, scale, size, out: (at + 0.5) / scale - 0.5 if out > 1 else at * 0.0,
    "align_corners": lambda at, scale, size, out: at * (size - 1) / (out - 1) if out > 1 else at * 0.0,
    "asymmetric": lambda at, scale, size, out: at / scale,
}
_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@translates("Resize", numbers=(1, 2, 3))
def resize(call: Call, x: Tensor, roi: Any = None, scales: Any = None, sizes: Any = None) -> Tensor:
    """To given sizes, or by given scales."""
    call.require("coordinate_transformation_mode", "half_pixel", *_COORDINATES)
    call.require("keep_aspect_ratio_policy", "stretch")
    axes = [axis % x.dim() for axis in call.get("axes", range(x.dim()))]
    factors: dict[int, float] = {} if sizes else dict(zip(axes, scales, strict=True))
    wanted = dict(zip(axes, sizes, strict=True)) if sizes else {a: _scaled(x.shape[a], f) for a, f in factors.items()}
    changed = [a for a in axes if not statically_known_true(wanted[a] == x.shape[a]) or factors.get(a, 1) != 1]
    if not changed:
        return x
    out = {axis: wanted[axis] for axis in changed}
    if all(axis >= 2 for axis in changed) and (mode := _torch_mode(call, x, out, factors)) is not None:
        planes = [out.get(axis, x.shape[axis]) for axis in range(2, x.dim())]
        corners = _coordinates(call) == "align_corners" if mode.endswith(("linear", "cubic")) else None
        return F.interpolate(x, planes, mode=mode, align_corners=corners)
    for axis, size in out.items():
        x = _along(call, x, axis, size, factors.get(axis))
    return x


def _scaled(size: Any, factor: float) -> Any:
    return size * int(factor) if factor == int(factor) else math.floor(size * factor)


def _coordinates(call: Call) -> str:
    name: str = call.get("coordinate_transformation_mode", "half_pixel")
    return name


def _torch_mode(call: Call, x: Tensor, wanted: dict[int, int], factors: dict[int, float]) -> str | None:
    """Return the mode in which torch computes the same; it scales by the sizes alone."""
    if any(axis in factors and factors[axis] * x.shape[axis] != size for axis, size in wanted.items()):
        return None
    how, mode = _coordinates(call), call.get("mode", "nearest")
    if mode == "nearest":
        is_torch = how == "asymmetric" and call.get("nearest_mode", "round_prefer_floor") == "floor"
        return "nearest" if is_torch and x.dim() in (3, 4, 5) else None
    if how == "pytorch_half_pixel" and all(size > 1 for size in wanted.values() if isinstance(size, int)):
        how = "half_pixel"
    # Where it smooths (antialias), torch leaves out what is outside, and ONNX repeats the edge.
    if how not in ("half_pixel", "align_corners") or call.get("exclude_outside", 0) or call.get("antialias", 0):
        return None
    if mode == "cubic" and call.get("cubic_coeff_a", -0.75) != -0.75:
        return None
    return _MODES[mode].get(x.dim())


def _along(call: Call, x: Tensor, axis: int, out: int, scale: float | None) -> Tensor:
    """Resize one axis: a sum of neighbors by weights."""
    size = x.shape[axis]
    if not isinstance(size, int) or not isinstance(out, int):
        raise call.refused(f"resizes axis {axis}, whose size may vary, in a way that torch does not")
    scale = scale or out / size
    at = _COORDINATES[_coordinates(call)](np.arange(out, dtype=np.float64), scale, size, out)
    places, weights = _neighbors(call, at, size, min(scale, 1.0) if call.get("antialias", 0) else 1.0)
    shape = [-1 if k == axis else 1 for k in range(x.dim())]
    total: Tensor | None = None
    for place, weight in zip(places, weights, strict=True):
        taken = torch.index_select(x, axis, torch.from_numpy(place))
        if call.get("mode", "nearest") == "nearest":
            return taken
        term = taken * torch.from_numpy(weight).to(x.dtype).reshape(shape)
        total = term if total is None else total + term
    assert total is not None
    return total


def _neighbors(call: Call, at: Array, size: int, scale: float) -> tuple[list[Array], list[Array]]:
    """Return the indices of the neighbors of each place, and their weights; a ``scale`` below 1 widens the kernel."""
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        nearest = _NEAREST[call.get("nearest_mode", "round_prefer_floor")](at)
        return [nearest.clip(0, size - 1).astype(np.int64)], [np.ones_like(at)]
    reach, kernel = (1, _linear) if mode == "linear" else (2, _cubic(call.get("cubic_coeff_a", -0.75)))
    first = math.floor(-reach / scale) + 1
    places = [np.floor(at) + offset for offset in range(first, 2 - first)]
    weights = [kernel(np.abs(at - place) * scale) for place in places]
    if call.get("exclude_outside", 0):
        weights = [weight * ((place >= 0) & (place < size)) for place, weight in zip(places, weights, strict=True)]
    total = np.sum(weights, axis=0)
    weights = [weight / total for weight in weights]
    return [place.clip(0, size - 1).astype(np.int64) for place in places], weights


def _linear(distance: Array) -> Array:
    weights: Array = np.maximum(1 - distance, 0)
    return weights


def _cubic(a: float) -> Callable[[Array], Array]:
    """Return the kernel of Keys (1981) with its coefficient."""

    def kernel(d: Array) -> Array:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return kernel


@translates("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """At places that a tensor names."""
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = call.get("mode", "linear")
    return F.grid_sample(
        x, grid, modes.get(mode, mode), call.get("padding_mode", "zeros"), bool(call.get("align_corners", 0))
    )
