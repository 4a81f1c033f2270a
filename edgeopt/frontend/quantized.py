"""Programs that were quantized elsewhere, in edgeopt's operators: their scales and zero points, never other ones.

| found                                                           | becomes                               |
|-----------------------------------------------------------------|---------------------------------------|
| ``quantized_decomposed.quantize_per_tensor``, ``_per_channel``   | ``edgeopt.quantize``                  |
| ``quantized_decomposed.dequantize_per_tensor``, ``_per_channel`` | ``edgeopt.dequantize``                |
| ``fake_quantize_per_tensor_affine``, ``_per_channel_affine``     | ``edgeopt.quantize``, ``.dequantize`` |
| ``QuantizeLinear``, ``DequantizeLinear`` of ONNX                 | the same, as they are imported        |

Constants, and what is computed of constants, are stored as integers at once. Integers that are fewer than their
type has (0..127 of uint8) become a clamp of the real values to what these integers stand for, which rounds to the
same ones. Torch multiplies by the rounded reciprocal of a scale where edgeopt divides by it: a value within a
rounding error of the middle between two integers may become the other one.

Source: torch, torch/ao/quantization/fx/_decomposed.py; ATen/native/quantized/FakeQuantPerTensorAffine.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeopt.errors import UserError
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, dtype_name, op_name
from edgeopt.ir.provenance import source_line
from edgeopt.ir.rewrite import arguments, replace
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.passes.exact.fold_constants import evaluated, is_constant
from edgeopt.quant.qparams import Affine

NAMESPACE = "quantized_decomposed"
_FLOAT_MODEL = "give the float model: edgeopt quantizes it with --precision int8 --calib DATA"
_ACTIVATIONS = (torch.uint8, torch.int8)
_STORED = (*_ACTIVATIONS, torch.int32)


def define_operators() -> None:
    """Make the operators of PT2E known to torch, which defines them where it quantizes."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401


def carry_quantization(program: Program) -> None:
    """Replace quantize and dequantize of other tools by edgeopt's own, in place.

    Raises UserError where scales are found as the model runs or in training, or where edgeopt has no such integers.
    """
    for node in list(program.calls):
        schema = getattr(node.target, "_schema", None)
        name = schema.name if schema is not None else ""
        if (carry := _CARRIED.get(name)) is not None:
            carry(program, node)
        elif name.startswith(f"{NAMESPACE}::") or "fake_quant" in name:
            raise _refused(node, f"holds {op_name(node)}, whose scales belong to training or to the running model")
    program.clean()


@dataclass(frozen=True)
class _Integers:
    """The map of a node and the least and largest integer that it may return."""

    affine: Affine
    low: int
    high: int


def _quantize(program: Program, node: fx.Node) -> None:
    """q = clamp(round(x / scale) + zero_point, low, high)."""
    replace(node, _quantized(program, node, _integers(program, node, arguments(node)["dtype"])))


def _dequantize(program: Program, node: fx.Node) -> None:
    """x = (q - zero_point) * scale."""
    found = arguments(node)
    _replace_by_real(program, node, found["input"], _integers(program, node, found["dtype"]).affine)


def _settle(program: Program, node: fx.Node) -> None:
    """Make constants of a scale and a zero point that are computed of constants."""
    for name in ("scale", "zero_point"):
        value = arguments(node)[name]
        if value.name not in program.constants:
            held = program.add_constant(f"{node.name}_{name}", _known(program, node, value))
            node.replace_input_with(value, held)


def _fake_quantize(program: Program, node: fx.Node) -> None:
    """x = dequantize(quantize(x))."""
    integers = _integers(program, node, torch.int8 if arguments(node)["quant_min"] < 0 else torch.uint8)
    _replace_by_real(program, node, _quantized(program, node, integers), integers.affine)


def _quantized(program: Program, node: fx.Node, integers: _Integers) -> fx.Node:
    found, affine = arguments(node), integers.affine
    x = found["input"] if "input" in found else found["self"]
    if is_constant(program, x):
        return program.add_constant(f"{x.name}_q", _stored(evaluated(program, x), integers))
    if affine.dtype not in _ACTIVATIONS:
        raise _refused(node, f"quantizes activations to {dtype_name(affine.dtype)}")
    info = torch.iinfo(affine.dtype)
    if (integers.low, integers.high) != (info.min, info.max):
        x = _clamped(program, node, x, integers)
    return program.insert(node, QUANTIZE, x, *_constants(program, node, affine), affine.axis, affine.dtype)


def _clamped(program: Program, node: fx.Node, x: fx.Node, integers: _Integers) -> fx.Node:
    """Return the real values within what the integers stand for."""
    scale, zero = integers.affine.scale, integers.affine.zero_point
    if scale.dim():
        raise _refused(node, f"quantizes the channels of an activation to {integers.low}..{integers.high}")
    low, high = (float((end - int(zero)) * scale) for end in (integers.low, integers.high))
    return program.insert(node, aten.hardtanh.default, x, low, high)


def _stored(values: torch.Tensor, integers: _Integers) -> torch.Tensor:
    """Return constant ``values`` as the integers that torch quantizes them to, of the same shape."""
    affine = integers.affine
    shape = [-1 if affine.scale.dim() and dim == affine.axis else 1 for dim in range(values.dim())]
    q = torch.round(values * (1.0 / affine.scale).view(shape)) + affine.zero_point.view(shape)
    return q.clamp(integers.low, integers.high).to(affine.dtype)


def _replace_by_real(program: Program, node: fx.Node, q: fx.Node, affine: Affine) -> None:
    new = program.insert(node, DEQUANTIZE, q, *_constants(program, node, affine), affine.axis)
    wanted = node.meta["val"].dtype
    if wanted != torch.float32:
        new = program.insert(node, aten.to.dtype, new, wanted)
    replace(node, new)


def _constants(program: Program, node: fx.Node, affine: Affine) -> tuple[fx.Node, fx.Node]:
    """Return new placeholders of a map's scale and zero point."""
    scale = program.add_constant(f"{node.name}_scale", affine.scale)
    return scale, program.add_constant(f"{node.name}_zero_point", affine.zero_point)


def _integers(program: Program, node: fx.Node, dtype: torch.dtype) -> _Integers:
    """Return the map of a node.

    Raises UserError where it is not constant, or its integers are of no type that edgeopt has.
    """
    found = arguments(node)
    scale, zero, low, high = (
        _known(program, node, found[name if name in found else f"{name}s"])
        for name in ("scale", "zero_point", "quant_min", "quant_max")
    )
    info = torch.iinfo(dtype) if dtype in _STORED else None
    if info is None or not info.min <= int(low) <= int(high) <= info.max:
        raise _refused(node, f"holds integers {int(low)}..{int(high)} of {dtype_name(dtype)}")
    if "axis" not in found:
        scale, zero, axis = scale.reshape(()), zero.reshape(()), 0
    else:
        axis = found["axis"] % node.meta["val"].dim()
    scale = scale.to(torch.float32)
    if bool(((zero < info.min) | (zero > info.max)).any()) or bool((zero != zero.round()).any()):
        raise _refused(node, f"has a zero point outside {dtype_name(dtype)}")
    return _Integers(Affine(scale, zero.to(dtype).expand_as(scale).contiguous(), axis), int(low), int(high))


def _known(program: Program, node: fx.Node, value: Any) -> torch.Tensor:
    """Return a number, a constant, or what is computed of constants; no zero points are zeros."""
    if not isinstance(value, fx.Node):
        return torch.as_tensor(0 if value is None else value)
    if not is_constant(program, value):
        raise _refused(node, f"computes '{value.name}' as it runs")
    result: torch.Tensor = evaluated(program, value)
    return result


def _refused(node: fx.Node, what: str) -> UserError:
    return UserError(f"the program was quantized elsewhere: node '{node.name}'{source_line(node)} {what}", _FLOAT_MODEL)


_CARRIED: dict[str, Callable[[Program, fx.Node], None]] = {
    **dict.fromkeys(("edgeopt::quantize", "edgeopt::dequantize"), _settle),
    **dict.fromkeys((f"{NAMESPACE}::quantize_per_tensor", f"{NAMESPACE}::quantize_per_channel"), _quantize),
    **dict.fromkeys((f"{NAMESPACE}::dequantize_per_tensor", f"{NAMESPACE}::dequantize_per_channel"), _dequantize),
    **dict.fromkeys(
        ("aten::fake_quantize_per_tensor_affine", "aten::fake_quantize_per_channel_affine"), _fake_quantize
    ),
}
