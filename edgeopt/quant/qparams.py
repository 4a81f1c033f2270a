"""Affine integers: ``x = (q - zero_point) * scale``, for one tensor or for each channel of it.

Activations are asymmetric: the range between their least and largest value, zero included (so that padding and ReLU
are exact), is spread over all 256 integers. Weights are symmetric a channel: zero point 0, integers -127..127.
Biases are int32 at the scale of the accumulator. Source: B. Jacob et al., Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgeopt.errors import PassError
from edgeopt.ir.program import Range

WEIGHT_LIMIT = 127
"""Largest absolute integer of a weight; -128 is left out so that negation and the product of two cannot overflow."""

_BIAS_LIMIT = 2**30
_LEAST_SCALE = 2.0**-100


@dataclass(frozen=True)
class Affine:
    """Scale (float32) and zero point (of the integer type): tensors of shape ``[]``, or ``[C]`` along ``axis``."""

    scale: torch.Tensor
    zero_point: torch.Tensor
    axis: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """The integer type."""
        return self.zero_point.dtype


def for_activation(found: Range, dtype: torch.dtype) -> Affine:
    """Return the asymmetric map that spreads a range of one tensor over all integers of ``dtype``."""
    if len(found.low) != 1:
        raise PassError(f"the range has {len(found.low)} channels, activations take one", "calibrate by tensor")
    info = torch.iinfo(dtype)
    low, high = min(found.low[0], 0.0), max(found.high[0], 0.0)
    scale = torch.tensor(max((high - low) / (info.max - info.min), _LEAST_SCALE), dtype=torch.float32)
    zero = round(info.min - low / float(scale))
    return Affine(scale, torch.tensor(max(info.min, min(info.max, zero)), dtype=dtype))


def symmetric(found: Range, dtype: torch.dtype) -> Range:
    """Return the least range around ``found`` whose map has zero point 0 in the signed ``dtype``."""
    info = torch.iinfo(dtype)
    largest = max(abs(found.low[0]), abs(found.high[0]))
    return Range((largest * info.min / info.max,), (largest,))


def for_weight(weight: torch.Tensor, axis: int = 0) -> Affine:
    """Return the symmetric int8 map of each channel of ``weight`` along ``axis``: the largest value becomes 127."""
    others = [dim for dim in range(weight.dim()) if dim != axis]
    largest = weight.abs().amax(dim=others) if others else weight.abs()
    scale = (largest / WEIGHT_LIMIT).clamp_min(_LEAST_SCALE)
    return Affine(scale, torch.zeros_like(scale, dtype=torch.int8), axis)


def fitting_bias(weight: Affine, bias: torch.Tensor, input_scale: torch.Tensor) -> Affine:
    """Return the map of a weight, coarser for channels whose bias would not fit int32 at the accumulator's scale.

    Such a channel has next to no weight (batch normalization switched it off), so that nothing is lost.
    """
    least = bias.abs() / (input_scale * _BIAS_LIMIT)
    return Affine(torch.maximum(weight.scale, least), weight.zero_point, weight.axis)


def for_bias(input_scale: torch.Tensor, weight: Affine) -> Affine:
    """Return the int32 map of a bias: the scale of the products that it is added to."""
    scale = input_scale * weight.scale
    return Affine(scale, torch.zeros_like(scale, dtype=torch.int32))


def to_integers(values: torch.Tensor, affine: Affine) -> torch.Tensor:
    """Return the integers nearest to constant ``values``; weights stay within -127..127."""
    shape = [-1 if affine.scale.dim() and dim == affine.axis else 1 for dim in range(values.dim())]
    # In float64, for an int32 has more digits than float32.
    q = torch.round(values.double() / affine.scale.double().view(shape)) + affine.zero_point.double().view(shape)
    info = torch.iinfo(affine.dtype)
    low = -WEIGHT_LIMIT if affine.dtype == torch.int8 else info.min
    return q.clamp(low, info.max).to(affine.dtype)
