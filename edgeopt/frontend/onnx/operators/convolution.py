"""Convolutions and their transposes, with ONNX's ways to pad."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates

_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def pads_of(call: Call, sizes: list[int], kernel: list[int]) -> tuple[list[int], list[int]]:
    """Return what is padded before and after each spatial axis; ``sizes`` are those of the input."""
    rank = len(kernel)
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    auto = call.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = call.get("pads", [0] * (2 * rank))
        return list(pads[:rank]), list(pads[rank:])
    if auto == "VALID":
        return [0] * rank, [0] * rank
    before, after = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before, after


def last_first(before: list[int], after: list[int]) -> list[int]:
    """Return pads in torch's order: the last axis first, its begin and end."""
    return [side for pair in reversed(list(zip(before, after, strict=True))) for side in pair]


@translates("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution over one to three axes; pads that differ at both ends are a pad of its own."""
    rank = weight.dim() - 2
    if rank not in _CONV:
        raise call.refused(f"convolves {rank} axes")
    before, after = pads_of(call, list(x.shape[2:]), list(weight.shape[2:]))
    if before != after:
        x, before = F.pad(x, last_first(before, after)), [0] * rank
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    result: Tensor = _CONV[rank](x, weight, bias, strides, before, dilations, call.get("group", 1))
    return result


@translates("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Transposed convolution; pads that differ at both ends are cut off afterwards."""
    rank = weight.dim() - 2
    if rank not in _TRANSPOSED:
        raise call.refused(f"convolves {rank} axes")
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    extra = list(call.get("output_padding", [0] * rank))
    full = [
        (size - 1) * stride + (window - 1) * dilation + 1 + more
        for size, stride, window, dilation, more in zip(
            x.shape[2:], strides, weight.shape[2:], dilations, extra, strict=True
        )
    ]
    before, after = _cut(call, x, full, strides)
    groups = call.get("group", 1)
    if before == after and all(cut >= 0 for cut in before):
        result: Tensor = _TRANSPOSED[rank](x, weight, bias, strides, before, extra, groups, dilations)
        return result
    result = _TRANSPOSED[rank](x, weight, bias, strides, [0] * rank, extra, groups, dilations)
    return F.pad(result, last_first([-cut for cut in before], [-cut for cut in after]))


def _cut(call: Call, x: Tensor, full: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
    """Return how many elements of the full result are cut off before and after each axis."""
    rank = len(full)
    auto = call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if auto.startswith("SAME") and wanted is None:
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        pads = call.get("pads", [0] * (2 * rank)) if auto == "NOTSET" else [0] * (2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    totals = [size - want for size, want in zip(full, wanted[-rank:], strict=True)]
    halves = [total // 2 for total in totals]
    others = [total - half for total, half in zip(totals, halves, strict=True)]
    return (halves, others) if auto == "SAME_UPPER" else (others, halves)
