"""Convolutions of single points that leave some out: padded and thinned out before, at a stride of 1.

    conv(x, 1 x 1, stride, padding)  =>  conv(pad(x)[.., ::stride], 1 x 1)

A compiler may move the stride of a 1 x 1 convolution before the operator that it reads, and forget the padding there:
the shape comes out wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import Arguments, decomposes, each
from edgeopt.ir.nodes import aten

CONVOLUTIONS: dict[int, Callable[..., torch.Tensor]] = {
    1: aten.conv1d.default,
    2: aten.conv2d.default,
    3: aten.conv3d.default,
}


def _skips_in_padding(given: Arguments) -> bool:
    is_of_points = all(size == 1 for size in given["weight"].shape[2:])
    rank = given["weight"].dim() - 2
    strides, pads = each(given["stride"], rank), each(given["padding"], rank)
    return is_of_points and max(strides) > 1 and max(pads) > 0


@decomposes(*CONVOLUTIONS.values(), where=_skips_in_padding)
def convolution_of_points(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    _dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """Return the convolution of ``x`` [N, C, spatial...] with ``weight`` [M, C / groups, 1...]."""
    rank = weight.dim() - 2
    padded = functional.pad(x, [pad for pad in reversed(each(padding, rank)) for _ in range(2)])
    everywhere: tuple[Any, ...] = (..., *(slice(None, None, step) for step in each(stride, rank)))
    thinned = padded[everywhere]
    return CONVOLUTIONS[rank](thinned, weight, bias, groups=groups)
