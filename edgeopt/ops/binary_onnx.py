"""Layers of packed signs in ONNX: the functions ``BinaryLinear`` and ``BinaryConv2d`` in the domain ``edgeopt``.

Their bodies unpack the weight, which a runtime does once as it loads the model; a native kernel may take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.binary import WORD


def linear() -> Function:
    """Return the function of ``edgeopt::binary_linear``'s arguments."""
    op, script = scripting()

    bits = _bits()

    @script
    def BinaryLinear(x: Any, shift: Any, weight: Any, scale: Any, bias: Any) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        zero = op.Constant(value_ints=[0])
        is_set = op.Cast(op.BitwiseAnd(op.Unsqueeze(weight, last), op.Constant(value=bits)), to=9)
        flat = op.Reshape(is_set, op.Constant(value_ints=[0, -1]))
        plus = op.CastLike(1.0, x)
        minus = op.CastLike(-1.0, x)
        signs = op.Where(op.Slice(flat, zero, op.Shape(x, start=-1), op.Constant(value_ints=[1])), plus, minus)
        active = op.Where(op.GreaterOrEqual(op.Add(x, shift), op.CastLike(0.0, x)), plus, minus)
        return op.Add(op.Mul(op.MatMul(active, op.Transpose(signs, perm=[1, 0])), scale), bias)

    return BinaryLinear


def conv2d() -> Function:
    """Return the function of ``edgeopt::binary_conv2d``'s arguments that emits it."""
    op, script = scripting()

    bits = _bits()

    @script
    def BinaryConv2d(  # noqa: N802
        x: Any,
        shift: Any,
        weight: Any,
        scale: Any,
        bias: Any,
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
    ) -> Any:
        last = op.Constant(value_ints=[-1])
        zero = op.Constant(value_ints=[0])
        plane = op.Constant(value_ints=[1, 2])
        is_set = op.Cast(op.BitwiseAnd(op.Unsqueeze(weight, last), op.Constant(value=bits)), to=9)
        flat = op.Reshape(is_set, op.Constant(value_ints=[0, 0, 0, -1]))
        plus = op.CastLike(1.0, x)
        minus = op.CastLike(-1.0, x)
        channels = op.Slice(flat, zero, op.Shape(x, start=1, end=2), op.Constant(value_ints=[3]))
        signs = op.Transpose(op.Where(channels, plus, minus), perm=[0, 3, 1, 2])
        shifted = op.Add(x, op.Unsqueeze(shift, plane))
        active = op.Where(op.GreaterOrEqual(shifted, op.CastLike(0.0, x)), plus, minus)
        sums = op.Conv(active, signs, strides=strides, pads=pads, dilations=dilations)
        return op.Add(op.Mul(sums, op.Unsqueeze(scale, plane)), op.Unsqueeze(bias, plane))

    def binary_conv2d(
        x: Any, shift: Any, weight: Any, scale: Any, bias: Any, stride: Any, padding: Any, dilation: Any
    ) -> Any:
        attributes = {"strides": list(stride), "pads": [*padding, *padding], "dilations": list(dilation)}
        return BinaryConv2d(x, shift, weight, scale, bias, **attributes)

    return binary_conv2d


def _bits() -> Any:
    """Return the constant of a word's bits, the least first; the last one is the sign's."""
    from onnx import TensorProto, helper

    values = [1 << place for place in range(WORD - 1)] + [-1 << WORD - 1]
    return helper.make_tensor("bits", TensorProto.INT32, [WORD], values)
