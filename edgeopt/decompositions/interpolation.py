"""Interpolation that is antialiased, or to a single pixel, as two products with constant matrices.

    y = H x W^T,   H[i, j] = weight of row j in row i of the result

Each axis is interpolated by itself and linearly in the values, so its matrix is what torch makes of the identity.
No runtime's ``Resize`` with antialias weighs as torch does, and one takes the first pixel of an axis for its middle
where a single one is asked for.

Source: torch, aten/src/ATen/native/cpu/UpSampleKernel.cpp (separable, weights normalized).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten

Interpolation = Callable[..., torch.Tensor]

_BILINEAR, _BICUBIC = aten._upsample_bilinear2d_aa.default, aten._upsample_bicubic2d_aa.default


@decomposes(aten._upsample_bilinear2d_aa.vec)
def bilinear(
    x: torch.Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized with a triangular filter as wide as the scale."""
    return _resized(_BILINEAR, x, output_size, align_corners, scale_factors)


@decomposes(aten._upsample_bicubic2d_aa.vec)
def bicubic(
    x: torch.Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized with a cubic filter (a = -0.5) as wide as the scale."""
    return _resized(_BICUBIC, x, output_size, align_corners, scale_factors)


@decomposes(_BILINEAR)
def bilinear_to_size(
    x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None, scales_w: float | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized as ``bilinear`` does, each axis with a scale of its own."""
    return _along_axes(_BILINEAR, x, output_size, align_corners, (scales_h, scales_w))


@decomposes(_BICUBIC)
def bicubic_to_size(
    x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None, scales_w: float | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized as ``bicubic`` does, each axis with a scale of its own."""
    return _along_axes(_BICUBIC, x, output_size, align_corners, (scales_h, scales_w))


def _is_to_one(given: Arguments) -> bool:
    sizes = given["output_size"] or _scaled(given["input"], given["scale_factors"])
    return not given["align_corners"] and 1 in sizes


@decomposes(aten.upsample_bilinear2d.vec, where=_is_to_one)
def bilinear_to_one(
    x: torch.Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized linearly."""
    return _resized(aten.upsample_bilinear2d.default, x, output_size, align_corners, scale_factors)


@decomposes(aten.upsample_bicubic2d.vec, where=_is_to_one)
def bicubic_to_one(
    x: torch.Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """Return ``x`` [N, C, H, W] resized with a cubic filter (a = -0.75)."""
    return _resized(aten.upsample_bicubic2d.default, x, output_size, align_corners, scale_factors)


@decomposes(aten.upsample_linear1d.vec, where=_is_to_one)
def linear_to_one(
    x: torch.Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """Return ``x`` [N, C, L] resized linearly."""
    size, factors = output_size and [1, *output_size], scale_factors and [1.0, *scale_factors]
    return bilinear_to_one(x.unsqueeze(-2), size, align_corners, factors).squeeze(-2)


def _resized(operator: Interpolation, x: torch.Tensor, size: Any, align_corners: bool, factors: Any) -> torch.Tensor:
    if factors is None:
        return _along_axes(operator, x, size, align_corners, (None, None))
    return _along_axes(operator, x, _scaled(x, factors), align_corners, factors)


def _scaled(x: torch.Tensor, factors: Sequence[float]) -> list[int]:
    return [int(length * factor) for length, factor in zip(x.shape[-len(factors) :], factors, strict=True)]


def _along_axes(
    operator: Interpolation,
    x: torch.Tensor,
    sizes: Sequence[int],
    align_corners: bool,
    scales: Sequence[Any],
) -> torch.Tensor:
    rows, columns = (
        _matrix(operator, length, size, align_corners, scale).to(x.dtype)
        for length, size, scale in zip(x.shape[-2:], sizes, scales, strict=True)
    )
    return torch.matmul(torch.matmul(rows, x), columns.mT)


def _matrix(operator: Interpolation, length: int, size: int, align_corners: bool, scale: Any) -> torch.Tensor:
    """Return the weights [size, length] of an axis in float64."""
    identity = torch.eye(length, dtype=torch.float64)[None, None]
    return operator(identity, [length, size], align_corners, None, scale)[0, 0].mT
