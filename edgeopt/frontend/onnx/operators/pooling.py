"""Pooling by windows and over whole planes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates
from edgeopt.frontend.onnx.operators.convolution import last_first, pads_of

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _window(call: Call, x: Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, and what is padded before and after."""
    kernel = list(call.get("kernel_shape"))
    if len(kernel) not in _MAX:
        raise call.refused(f"pools {len(kernel)} axes")
    before, after = pads_of(call, list(x.shape[2:]), kernel)
    return kernel, list(call.get("strides", [1] * len(kernel))), before, after


@translates("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor:
    """The largest of each window."""
    if call.outputs > 1:
        raise call.refused("returns indices")
    kernel, strides, before, after = _window(call, x)
    dilations = list(call.get("dilations", [1] * len(kernel)))
    if before != after or any(2 * pad > size for pad, size in zip(before, kernel, strict=True)):
        x, before = F.pad(x, last_first(before, after), value=-torch.inf), [0] * len(kernel)
    ceil = bool(call.get("ceil_mode", 0))
    result: Tensor = _MAX[len(kernel)](x, kernel, strides, before, dilations, ceil)
    return result


@translates("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean of each window, of what is padded too where ``count_include_pad`` says so."""
    kernel, strides, before, after = _window(call, x)
    call.require("dilations", [1] * len(kernel))
    pool, ceil, counts = _AVERAGE[len(kernel)], bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    if before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True)):
        result: Tensor = pool(x, kernel, strides, before, ceil, counts)
        return result
    pads, none = last_first(before, after), [0] * len(kernel)
    means: Tensor = pool(F.pad(x, pads), kernel, strides, none, ceil)
    if counts:
        return means
    inside: Tensor = pool(F.pad(torch.ones_like(x[:1, :1]), pads), kernel, strides, none, ceil)
    return means / inside


@translates("GlobalAveragePool")
def global_average(call: Call, x: Tensor) -> Tensor:
    """The mean of each plane."""
    rank = x.dim() - 2
    if rank not in _ADAPTIVE:
        return x.mean(list(range(2, x.dim())), keepdim=True)
    result: Tensor = _ADAPTIVE[rank](x, [1] * rank)
    return result


@translates("GlobalMaxPool")
def global_max(call: Call, x: Tensor) -> Tensor:
    """The largest of each plane."""
    return torch.amax(x, list(range(2, x.dim())), keepdim=True)
