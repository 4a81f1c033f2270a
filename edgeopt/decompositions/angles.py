"""Angles of points from the positive x axis: exporters give -pi to points on the negative one, where torch gives pi.

angle(x)     =>  pi below 0, else 0, in float; of NaN it is NaN
atan2(y, x)  =>  atan(smaller / larger) in the first half quadrant, reflected into the right one

Zeros and infinities are points in their quadrant as in C: atan2(-0, -1) is -pi, atan2(inf, inf) is pi / 4.
"""

from __future__ import annotations

import math

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.atan2.default)
def atan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the angles of (``x``, ``y``) [...] in float."""
    dtype = torch.promote_types(torch.result_type(y, x), torch.float32)
    y, x = torch.broadcast_tensors(y.to(dtype), x.to(dtype))
    across, up = torch.abs(x), torch.abs(y)
    larger, smaller = torch.maximum(across, up), torch.minimum(across, up)
    ratio = torch.where(larger == smaller, torch.where(larger == 0.0, 0.0, 1.0), smaller / larger)
    half = torch.atan(ratio)
    quadrant = torch.where(up > across, math.pi / 2 - half, half)
    angle = torch.where(_is_negative(x), math.pi - quadrant, quadrant)
    return torch.where(_is_negative(y), -angle, angle)


@decomposes(aten.angle.default, where=lambda given: not given["self"].is_complex())
def angle_of_real(x: torch.Tensor) -> torch.Tensor:
    """Return the angles of real numbers ``x`` [...] in float."""
    x = x.to(torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32)
    return torch.where(x.isnan(), x, torch.where(x < 0.0, math.pi, 0.0).to(x.dtype))


def _is_negative(x: torch.Tensor) -> torch.Tensor:
    """Return whether numbers are below 0, or are -0."""
    return torch.where(x == 0.0, 1.0 / x, x) < 0.0
