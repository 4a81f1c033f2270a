"""Average pools whose divisor is not the size of the window, or whose last window leaves the input.

    avg_pool(x)[i] = sum of x over window i / divisor[i]
                   = avg_pool of the padded input, without padding of its own, times size of the window / divisor[i]

torch divides by ``divisor_override`` where it is given, else by the elements of the window that lie inside the input
(``count_include_pad=False``) or inside the input and its padding. ONNX has no ``divisor_override``, and runtimes count
what a window of ``ceil_mode`` has outside of both in different ways.

Source: torch, aten/src/ATen/native/cpu/AvgPoolKernel.cpp; aten/src/ATen/native/Pool.h for the number of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from edgeopt.decompositions import pools_of_integers
from edgeopt.decompositions.writing_out import Arguments, decomposes, each
from edgeopt.ir.nodes import aten

AVERAGE_POOLS: dict[int, Callable[..., torch.Tensor]] = {
    1: aten.avg_pool1d.default,
    2: aten.avg_pool2d.default,
    3: aten.avg_pool3d.default,
}


def is_unusual(given: Arguments) -> bool:
    """Return whether a pool has a divisor of its own, counts windows upwards, or is one of integers."""
    is_of_floats = given["self"].is_floating_point()
    return bool(given["ceil_mode"]) or given.get("divisor_override") is not None or not is_of_floats


@decomposes(*AVERAGE_POOLS.values(), where=is_unusual)
def average_pool(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Return the average pool of ``x`` [N, C, spatial...] or [C, spatial...]."""
    rank = len(kernel_size)
    pads, kernels = each(padding, rank), each(kernel_size, rank)
    strides = each(stride, rank) if stride else kernels
    sizes = x.shape[-rank:]
    axes = list(zip(sizes, kernels, strides, pads, strict=True))
    counts = [windows(*axis, ceil_mode) for axis in axes]
    inside = [_inside(count, *place, count_include_pad) for count, place in zip(counts, axes, strict=True)]
    if not x.is_floating_point():
        forms = [pools_of_integers.Axis(*axis, 1, count) for axis, count in zip(axes, counts, strict=True)]
        return pools_of_integers.average(x, forms, divisor_override or _product(inside).to(x.dtype))
    # What the last window lacks behind the padding.
    behind = [max(0, (n - 1) * s + k - (size + p)) for n, (size, k, s, p) in zip(counts, axes, strict=True)]
    widths = [
        width for before, after in zip(reversed(pads), reversed(behind), strict=True) for width in (before, after)
    ]
    result = AVERAGE_POOLS[rank](functional.pad(x, widths), kernels, strides)
    if divisor_override is not None:
        return result * (torch.Size(kernels).numel() / divisor_override)
    for axis, (kernel, elements) in enumerate(zip(kernels, inside, strict=True)):
        result = result * (kernel / elements).to(x.dtype).reshape(-1, *[1] * (rank - 1 - axis))
    return result


def _product(sizes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the products [a, b, ...] of numbers [a], [b], ..."""
    first, *others = sizes
    for other in others:
        first = first.unsqueeze(-1) * other
    return first


def windows(size: int, kernel: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Return how many windows an axis has: none begins behind the input and the padding before it."""
    room = size + 2 * pad - kernel
    count = (room + stride - 1 if ceil_mode else room) // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + pad else count


def _inside(count: int, size: int, kernel: int, stride: int, pad: int, with_padding: bool) -> torch.Tensor:
    """Return how many elements of each window count along an axis, in float64."""
    start = torch.arange(count, dtype=torch.float64) * stride - pad
    first, last = (-pad, size + pad) if with_padding else (0, size)
    return (start + kernel).clamp(max=last) - start.clamp(min=first)
