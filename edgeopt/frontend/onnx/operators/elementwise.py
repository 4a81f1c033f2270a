"""Operators over single elements: arithmetic, comparisons, bits, activations, types."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import MICROSOFT, TABLE, Call, Entry, translates
from edgeopt.frontend.onnx.dtypes import torch_dtype
from edgeopt.frontend.onnx.values import Known, Value

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(torch, name.lower()) for name in ("Abs", "Neg", "Floor", "Ceil", "Sqrt", "Exp", "Log", "Erf")},
    **{name: getattr(torch, name.lower()) for name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh")},
    **{name: getattr(torch, name.lower()) for name in ("Asinh", "Acosh", "Atanh", "Tanh", "Sigmoid", "Relu", "Round")},
    "Identity": lambda x: x,
    "Reciprocal": torch.reciprocal,
    "Sign": torch.sign,
    "Not": torch.logical_not,
    "BitwiseNot": torch.bitwise_not,
    "IsNaN": torch.isnan,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Det": torch.linalg.det,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}
_MANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Sum": torch.add, "Max": torch.maximum, "Min": torch.minimum}


def _enter_plain() -> None:
    """Enter what torch computes by one function of the same arguments."""
    for name, unary in _UNARY.items():
        TABLE["", name] = Entry(lambda call, x, function=unary: function(x))
    for name, binary in _BINARY.items():
        TABLE["", name] = Entry(lambda call, a, b, function=binary: function(a, b))
    for name, many in _MANY.items():
        TABLE["", name] = Entry(lambda call, *values, function=many: reduce(function, values))


_enter_plain()


@translates("Mean")
def mean(call: Call, *values: Tensor) -> Tensor:
    """The mean of several tensors."""
    return reduce(torch.add, values) / len(values)


@translates("Div")
def divide(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided toward zero."""
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@translates("Mod")
def modulo(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The sign is that of the divisor, or, with ``fmod``, that of the dividend."""
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


@translates("Pow")
def power(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The result has the type of the base."""
    return torch.pow(a, b).to(a.dtype)


@translates("BitShift")
def shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """To the left or right."""
    return a << b if call.get("direction") == "LEFT" else a >> b


@translates("IsInf")
def is_infinite(call: Call, x: Tensor) -> Tensor:
    """Of either sign, as the attributes say."""
    found = torch.isinf(x)
    if not call.get("detect_negative", 1):
        found = found & (x > 0)
    if not call.get("detect_positive", 1):
        found = found & (x < 0)
    return found


@translates("Where")
def where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Elements of one or the other."""
    return torch.where(condition, a, b)


@translates("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    """To another type; floats lose their fraction."""
    return x.to(torch_dtype(call.get("to")))


@translates("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    """To the type of another tensor."""
    return x.to(like.dtype)


@translates("Clip", raw=(1, 2))
def clip(call: Call, x: Tensor, low: Value | None = None, high: Value | None = None) -> Tensor:
    """Between bounds, of which either may be absent; numbers that are known are what passes and targets know."""
    ends: list[Any] = [end.array.item() if isinstance(end, Known) else end for end in (low, high)]
    if any(isinstance(end, Tensor) for end in ends):
        return torch.clamp(x, *(None if end is None else torch.as_tensor(end) for end in ends))
    if ends == [0, 6]:
        return F.relu6(x)
    if ends == [None, None]:
        return x
    least, most = ends
    if least is not None and most is not None and x.is_floating_point():
        return F.hardtanh(x, least, most)
    return torch.clamp(x, least, most)


@translates("Dropout")
def dropout(call: Call, x: Tensor, ratio: Any = None, training: Any = None) -> Any:
    """Inference drops nothing."""
    return (x, torch.ones_like(x, dtype=torch.bool)) if call.outputs > 1 else x


@translates("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """The slope of negative values is ``alpha``."""
    return F.leaky_relu(x, call.get("alpha", 0.01))


@translates("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """Slopes are one a channel, or broadcast from the last axis."""
    if slope.numel() == 1:
        return F.prelu(x, slope.reshape(1))
    if x.dim() > 1 and slope.numel() == x.shape[1] and slope.dim() >= x.dim() - 1 and slope.shape[1 - x.dim()] != 1:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


@translates("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    """Exponential below zero."""
    return F.elu(x, call.get("alpha", 1.0))


@translates("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    """Exponential below zero, smooth for every ``alpha``."""
    return F.celu(x, call.get("alpha", 1.0))


@translates("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """``gamma * elu(x, alpha)``."""
    alpha, gamma = call.get("alpha", 1.6732632423543772), call.get("gamma", 1.0507009873554805)
    return F.elu(x, alpha) * float(gamma)


@translates("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """What does not exceed ``alpha`` becomes zero."""
    return F.threshold(x, call.get("alpha", 1.0), 0.0)


@translates("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """A line between 0 and 1; torch's own has the slope 1/6."""
    alpha, beta = call.get("alpha", 0.2), call.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@translates("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    """What is within ``lambd`` becomes zero, the rest moves by ``bias``."""
    edge, bias = call.get("lambd", 0.5), call.get("bias", 0.0)
    zero = torch.zeros_like(x)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, zero))


@translates("Gelu")
@translates("Gelu", domain=MICROSOFT)
def gelu(call: Call, x: Tensor) -> Tensor:
    """Exact, or by tanh."""
    return F.gelu(x, approximate=call.get("approximate", "none"))


@translates("BiasGelu", domain=MICROSOFT)
def bias_gelu(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    """GELU of a sum."""
    return F.gelu(x + bias)


@translates("FastGelu", domain=MICROSOFT)
def fast_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU by tanh."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@translates("QuickGelu", domain=MICROSOFT)
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


@translates("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    alpha = call.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)
