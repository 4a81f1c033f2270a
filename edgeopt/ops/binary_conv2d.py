"""``edgeopt::binary_conv2d``: a convolution of signs, its weight packed 32 channels to a word.

    out[b, n, i, j] = scale[n] sum_{c, u, v} sign(x[b, c, i', j'] + shift[c]) w[n, u, v, c] + bias[n],    w = +1 or -1

over the taps (u, v) that lie inside the image: padding adds nothing, as zeros do in float. ``x`` is [batch, channels,
height, width], ``shift`` [channels], ``weight`` int32 [outputs, rows, columns, words]: each tap's channels packed by
``edgeopt.quant.binary.pack``. ``scale`` and ``bias`` are [outputs]. The sign is +1 of zero; sums are exact integers.

Source: Rastegari et al., XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks, ECCV 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from edgeopt.ops.binary_linear import check_operands
from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.scripting import Function
from edgeopt.quant.binary import signs, unpack


@torch.library.custom_op("edgeopt::binary_conv2d", mutates_args=())
def binary_conv2d(
    x: torch.Tensor,
    shift: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Return the layer's output [batch, outputs, height, width]; see the module."""
    taps = unpack(weight, x.shape[1]).to(x.dtype).movedim(-1, 1)
    sums = functional.conv2d(signs(x + _channels(shift)), taps, None, stride, padding, dilation)
    return (sums * _channels(scale) + _channels(bias)).contiguous()


@binary_conv2d.register_fake
def _shape(
    x: torch.Tensor,
    shift: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    check_operands(x, 1, shift, weight, scale, bias)
    size = [
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[1 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    ]
    return x.new_empty((x.shape[0], weight.shape[0], *size))


def _channels(factor: torch.Tensor) -> torch.Tensor:
    return factor[:, None, None]


BINARY_CONV2D = torch.ops.edgeopt.binary_conv2d.default


def _onnx() -> Function:
    from edgeopt.ops.binary_onnx import conv2d

    return conv2d()


def _macs(a: Arguments) -> int:
    return int(math.prod(a["result"]) * math.prod(a["weight"][1:3]) * a["x"][1])


register(Operator("edgeopt::binary_conv2d", onnx=_onnx, macs=_macs, is_discontinuous=True))
