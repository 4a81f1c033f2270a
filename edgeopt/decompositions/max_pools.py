"""Max pools that count windows upwards, where torch drops the last: padded by what it lacks, counted downwards.

    max_pool(x, ceil_mode)  =>  max_pool(x with -inf behind it)

torch leaves out a window that begins in the padding behind; ONNX counts it.

Source: torch, aten/src/ATen/native/Pool.h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from edgeopt.decompositions import pools_of_integers
from edgeopt.decompositions.pools import windows
from edgeopt.decompositions.writing_out import Arguments, decomposes, each
from edgeopt.ir.nodes import aten

MAX_POOLS: dict[int, Callable[..., torch.Tensor]] = {
    1: aten.max_pool1d.default,
    2: aten.max_pool2d.default,
    3: aten.max_pool3d.default,
}


def _axes(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int, int, int]]:
    """Return for each axis its size, the span of a window, the stride and the padding on each side."""
    rank = len(kernel)
    spans = [step * (size - 1) + 1 for size, step in zip(kernel, each(dilation, rank), strict=True)]
    return list(zip(x.shape[-rank:], spans, each(stride or kernel, rank), each(padding, rank), strict=True))


_OF_INTEGERS = (
    aten.max_pool1d_with_indices.default,
    aten.max_pool2d_with_indices.default,
    aten.max_pool3d_with_indices.default,
)


def _is_of_integers(given: Arguments) -> bool:
    return not given["self"].is_floating_point()


def _is_unusual(given: Arguments) -> bool:
    return _is_of_integers(given) or (given["ceil_mode"] and _drops_a_window(given))


def _drops_a_window(given: Arguments) -> bool:
    names = ("self", "kernel_size", "stride", "padding", "dilation")
    axes = _axes(*(given[name] for name in names))
    counted = [-(-(size + 2 * pad - span) // step) + 1 for size, span, step, pad in axes]
    return counted != [windows(*axis, True) for axis in axes]


@decomposes(*MAX_POOLS.values(), where=_is_unusual)
def max_pool(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> torch.Tensor:
    """Return the max pool of ``x`` [N, C, spatial...] or [C, spatial...]."""
    if not x.is_floating_point():
        return max_pool_of_integers(x, kernel_size, stride, padding, dilation, ceil_mode)[0]
    axes = _axes(x, kernel_size, stride, padding, dilation)
    behind = [
        max(0, (windows(size, span, step, pad, True) - 1) * step + span - size - 2 * pad)
        for size, span, step, pad in axes
    ]
    padded = functional.pad(x, [width for size in reversed(behind) for width in (0, size)], value=-torch.inf)
    return MAX_POOLS[len(axes)](padded, kernel_size, stride, padding, dilation)


@decomposes(*_OF_INTEGERS, where=_is_of_integers)
def max_pool_of_integers(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the max pool of integers ``x`` [N, C, spatial...] or [C, spatial...], and the places of the largest."""
    axes = _axes(x, kernel_size, stride, padding, dilation)
    rank = len(axes)
    forms = [
        pools_of_integers.Axis(size, kernel, step, pad, spread, windows(size, span, step, pad, ceil_mode))
        for (size, span, step, pad), kernel, spread in zip(
            axes, each(kernel_size, rank), each(dilation, rank), strict=True
        )
    ]
    return pools_of_integers.largest(x, forms)
