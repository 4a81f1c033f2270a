"""``edgeopt::binary_linear``: a linear of signs, its weight packed 32 to a word.

    out[.., n] = scale[n] sum_k sign(x[.., k] + shift[k]) w[n, k] + bias[n],    w = +1 or -1

The sign is +1 of zero. ``x`` is [.., inputs], ``shift`` [inputs], ``weight`` int32 [outputs, words] as
``edgeopt.quant.binary.pack`` makes it, ``scale`` and ``bias`` [outputs]. The sum is an integer, so it is exact in
float32 up to 2^24 inputs and equal for every order of summation. The scale of activations is a factor of ``scale``, a
BatchNorm before the sign is ``shift`` with the signs of its channels in the weight.

Source: X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024.
"""

from __future__ import annotations

import math

import torch

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.scripting import Function
from edgeopt.quant.binary import signs, unpack, words


@torch.library.custom_op("edgeopt::binary_linear", mutates_args=())
def binary_linear(
    x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the layer's output [.., outputs]; see the module."""
    sums = signs(x + shift) @ unpack(weight, x.shape[-1]).to(x.dtype).mT
    return (sums * scale + bias).contiguous()


@binary_linear.register_fake
def _shape(
    x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    check_operands(x, -1, shift, weight, scale, bias)
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def check_operands(
    x: torch.Tensor, channels: int, shift: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> None:
    """Refuse packed weights and factors that do not fit ``x``, whose channels lie along that dimension."""
    inputs, outputs = x.shape[channels], weight.shape[0]
    torch._check(weight.dtype == torch.int32, lambda: f"weight is {weight.dtype}, packed signs are torch.int32")
    torch._check(weight.shape[-1] == words(inputs), lambda: f"{weight.shape[-1]} words for {inputs} inputs")
    torch._check(shift.shape == (inputs,), lambda: f"shift {list(shift.shape)} for {inputs} inputs")
    for name, factor in (("scale", scale), ("bias", bias)):
        torch._check(factor.shape == (outputs,), lambda: f"{name} {list(factor.shape)} for {outputs} outputs")  # noqa: B023


BINARY_LINEAR = torch.ops.edgeopt.binary_linear.default


def _onnx() -> Function:
    from edgeopt.ops.binary_onnx import linear

    return linear()


def _macs(a: Arguments) -> int:
    return int(math.prod(a["x"]) * a["weight"][0])


register(Operator("edgeopt::binary_linear", onnx=_onnx, macs=_macs, is_discontinuous=True))
