"""What TensorRT refuses of an ONNX graph, by its documentation: what the stand-ins answer with.

Sources: onnx-tensorrt, docs/operators.md (operators and their types); TensorRT's developer guide, "Strongly Typed
Networks", "Explicit Quantization" and "Extending TensorRT with Custom Layers". ``test_onnx_rules.py`` holds each rule
against the parser of TensorRT-RTX where that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from edgeopt.kernels.cuda.inventory import PLUGINS, Plugin

FLOATS: set[int] = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
NUMBERS: set[int] = FLOATS | {TensorProto.INT32, TensorProto.INT64}
QUANTIZED: set[int] = {TensorProto.INT8, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1}
ANY: set[int] = NUMBERS | QUANTIZED | {TensorProto.BOOL, TensorProto.UINT8}

_OF_FLOATS = """
Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Conv ConvTranspose Cos Cosh DeformConv
Einsum Elu Erf Exp Floor Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample GroupNormalization GRU
Hardmax HardSigmoid HardSwish InstanceNormalization IsInf LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
LpPool LRN LSTM MatMul MaxPool MeanVarianceNormalization Mish NonMaxSuppression PRelu QuantizeLinear Reciprocal
ReduceLogSum ReduceLogSumExp Relu Resize RMSNormalization RNN RoiAlign Round Selu Sigmoid Sin Sinh Softmax Softplus
Softsign Sqrt Tan Tanh ThresholdedRelu Upsample
"""
_OF_NUMBERS = """
Abs Add ArgMax ArgMin Clip CumSum DepthToSpace Div Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod Mul
Neg Pow Range ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Shrink Sign
SpaceToDepth Sub Sum TopK
"""
_OF_ANY = """
Cast CastLike Concat Constant ConstantOfShape Dropout Expand EyeLike Flatten Gather GatherElements GatherND Identity
If Loop NonZero OneHot Pad Reshape ReverseSequence Scan ScatterElements ScatterND Shape Size Slice Split Squeeze Tile
Transpose Trilu Unsqueeze
"""
TYPES: Mapping[str, set[int]] = {
    **{name: FLOATS for name in _OF_FLOATS.split()},
    **{name: NUMBERS for name in _OF_NUMBERS.split()},
    **{name: ANY for name in _OF_ANY.split()},
    **{name: {TensorProto.BOOL} for name in ("And", "Not", "Or", "Where", "Xor")},
    "DequantizeLinear": QUANTIZED,
    "Equal": NUMBERS | {TensorProto.BOOL},
}
"""Types of the first input by operator; what is missing here is not read at all."""

BYTES_IN: Mapping[str, tuple[int | None, ...]] = {
    "Fp4Linear": (None, TensorProto.INT8, TensorProto.INT8, None),
    "BinaryLinear": (None, None, TensorProto.INT32, None, None),
}
"""The types that plug-ins take where these are not float32 or half, the type of the first input."""

Shape = list[int | str]


def _to_columns(of: int) -> Callable[[list[Shape]], Shape]:
    return lambda shapes: [*shapes[0][:-1], shapes[of][0]]


SHAPES: Mapping[str, Callable[[list[Shape]], Shape]] = {
    "LinearAttention": lambda shapes: [*shapes[0][:-1], shapes[2][-1]],
    "CausalLinearAttention": lambda shapes: [*shapes[0][:-1], shapes[2][-1]],
    "RmsNorm": lambda shapes: shapes[0],
    "Fp4Linear": _to_columns(1),
    "BinaryLinear": _to_columns(2),
}
"""What ``getOutputShapes`` of each plug-in says."""


def refusals(model: onnx.ModelProto, plugins: Iterable[Plugin] = PLUGINS) -> list[str]:
    """Return what TensorRT, with these plug-ins registered, would say against the model; nothing where it reads it."""
    functions = {(function.domain, function.name) for function in model.functions}
    by_node = {(plugin.namespace, plugin.node): plugin for plugin in plugins}
    unknown = [
        f"{node.name}: no operator, plug-in or local function is called {node.domain or 'ai.onnx'}.{node.op_type}"
        for node in model.graph.node
        if not (node.domain == "" and node.op_type in TYPES)
        and (node.domain, node.op_type) not in functions | by_node.keys()
    ]
    if unknown:
        return unknown
    try:
        onnx.checker.check_model(model, full_check=True)
        known = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return [str(error)]
    return _Rules(known, by_node).found()


def refusals_of(path: Path, plugins: Iterable[Plugin] = PLUGINS) -> list[str]:
    """The same of a file."""
    return refusals(onnx.load(path), plugins)


@dataclass
class _Rules:
    """The rules over one graph whose types and shapes are inferred."""

    model: onnx.ModelProto
    plugins: Mapping[tuple[str, str], Plugin]

    def __post_init__(self) -> None:
        graph = self.model.graph
        values = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info, *graph.output)}
        self.types = {name: kind.elem_type for name, kind in values.items()}
        self.shapes: dict[str, Shape] = {
            name: [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
            for name, kind in values.items()
            if kind.HasField("shape")
        }
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.types |= {name: tensor.data_type for name, tensor in self.constants.items()}
        self.shapes |= {name: list(tensor.dims) for name, tensor in self.constants.items()}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def found(self) -> list[str]:
        """Return a sentence for each broken rule."""
        found = [
            f"{value.name}: inputs and outputs are not of type {_name(kind)}"
            for value in (*self.model.graph.input, *self.model.graph.output)
            if (kind := self.types[value.name]) not in ANY - {TensorProto.INT4, TensorProto.FLOAT4E2M1}
        ]
        for node in self.model.graph.node:
            found += [f"{node.name}: {sentence}" for sentence in self._node(node)]
        return found

    def _node(self, node: NodeProto) -> Iterable[str]:
        if plugin := self.plugins.get((node.domain, node.op_type)):
            yield from self._plugin(node, plugin)
        elif node.domain == "":
            yield from self._operator(node)

    def _operator(self, node: NodeProto) -> Iterable[str]:
        missing = [name for name in node.output if name and name not in self.types]
        if missing:
            yield f"the type of {missing[0]} does not follow"
        if node.input and (kind := self.types.get(node.input[0])) is not None and kind not in TYPES[node.op_type]:
            yield f"{node.op_type} does not take {_name(kind)}"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from self._pair(node)

    def _pair(self, node: NodeProto) -> Iterable[str]:
        """Explicit quantization: constant positive scales, zero points 0, integers that only pairs see."""
        scale = self._scale(node.input[1])
        zero = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        if scale is None:
            yield "the scale is not a constant"
        elif not (scale > 0).all():
            yield "the scale is not positive"
        if len(node.input) > 2 and (zero is None or numpy_helper.to_array(zero).astype(np.float32).any()):
            yield "the zero point is not 0"
        is_stored = node.input[0] in self.constants
        size = math.prod(int(size) for size in self.shapes.get(node.input[1], []))
        if size > 1 and not is_stored and node.op_type == "QuantizeLinear":
            yield "activations have a scale for each tensor, only weights one for each channel"
        if self.types.get(node.input[0]) in (TensorProto.INT4, TensorProto.FLOAT4E2M1) and not is_stored:
            yield "values of four bits are constants"
        if node.op_type == "QuantizeLinear":
            others = {reader.op_type for reader in self.readers.get(node.output[0], [])} - _SEES_INTEGERS
            if others:
                yield f"quantized values are read by {', '.join(sorted(others))}, not by DequantizeLinear"
        yield from self._blocks(node)

    def _blocks(self, node: NodeProto) -> Iterable[str]:
        """One scale for the tensor, for each index of an axis, or for each block of one."""
        given = {attribute.name: attribute.i for attribute in node.attribute}
        axis, block = given.get("axis", 1), given.get("block_size", 0)
        values, scales = (self.shapes.get(name, []) for name in node.input[:2])
        if block:
            expected = [size if at != axis else -(-int(size) // block) for at, size in enumerate(values)]
            if scales != expected:
                yield f"scales {scales} are not one for each block of {block} along axis {axis} of {values}"
        elif len(scales) == 1 and scales[0] != 1 and values[axis] != scales[0]:
            yield f"{scales[0]} scales do not fit axis {axis} of {values}"

    def _scale(self, name: str) -> np.ndarray | None:
        """Return what is known when an engine is built: a constant, or one that is itself cast or dequantized."""
        if name in self.constants:
            return numpy_helper.to_array(self.constants[name]).astype(np.float32)
        producer = next((node for node in self.model.graph.node if name in node.output), None)
        if producer is None or producer.op_type not in ("DequantizeLinear", "Cast"):
            return None
        stored = self._scale(producer.input[0])
        factor = self._scale(producer.input[1]) if producer.op_type == "DequantizeLinear" else np.float32(1)
        return None if stored is None or factor is None else stored * factor

    def _plugin(self, node: NodeProto, plugin: Plugin) -> Iterable[str]:
        given = {attribute.name: attribute for attribute in node.attribute}
        wanted = {"plugin_namespace": plugin.namespace.encode(), "plugin_version": plugin.version.encode()}
        for name, value in wanted.items():
            if name not in given or given[name].s != value:
                yield f"the registry has no plug-in {plugin.node} of this {name.removeprefix('plugin_')}"
        for attribute in plugin.attributes:
            kind = {"float": AttributeProto.FLOAT, "int": AttributeProto.INT}[attribute.kind]
            if attribute.name not in given:
                yield f"the plug-in's creator finds no field {attribute.name}"
            elif given[attribute.name].type != kind:
                yield f"the plug-in's field {attribute.name} is not a single {attribute.kind}"
        if len(node.input) != len(plugin.inputs):
            yield f"the plug-in reads {len(plugin.inputs)} inputs, not {len(node.input)}"
        else:
            yield from self._formats(node)

    def _formats(self, node: NodeProto) -> Iterable[str]:
        """What ``supportsFormatCombination`` and ``getOutputShapes`` say."""
        first, fixed = self.types.get(node.input[0]), BYTES_IN.get(node.op_type, (None,) * len(node.input))
        if first not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            yield f"the plug-in computes in float32 or half, not in {_name(first)}"
        for name, kind in zip(node.input, fixed, strict=True):
            if self.types.get(name) != (kind or first):
                yield f"the plug-in takes {name} as {_name(kind or first)}, not as {_name(self.types.get(name))}"
        if self.types.get(node.output[0]) != first:
            yield f"the plug-in returns {_name(first)}, the graph says {_name(self.types.get(node.output[0]))}"
        shape = SHAPES[node.op_type]([self.shapes[name] for name in node.input])
        if shape != self.shapes.get(node.output[0]):
            yield f"the plug-in returns {shape}, the graph says {self.shapes.get(node.output[0])}"


_SEES_INTEGERS = {"DequantizeLinear", "Transpose", "Reshape", "Slice", "Concat", "Identity", "Squeeze", "Unsqueeze"}


def _name(kind: int | None) -> str:
    return "nothing" if kind is None else TensorProto.DataType.Name(kind)
