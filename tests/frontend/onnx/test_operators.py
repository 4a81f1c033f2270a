"""Every operator as ONNX Runtime computes it, in the opsets whose meaning differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeopt.frontend.load import load
from edgeopt.frontend.onnx.call import TABLE
from tests.frontend.onnx.graphs import Case, model, reference

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


INPUTS = {
    "x": floats(2, 4, 6),
    "y": floats(2, 4, 6),
    "p": np.abs(floats(2, 4, 6)) + 0.5,
    "u": floats(2, 4, 6).clip(-0.9, 0.9),
    "image": floats(2, 4, 7, 8),
    "i": RNG.integers(-9, 9, (2, 4, 6)),
    "j": RNG.integers(1, 5, (2, 4, 6)),
    "b": RNG.integers(0, 2, (2, 4, 6)).astype(bool),
    "matrix": floats(5, 6),
    "bytes": RNG.integers(0, 255, (5, 6)).astype(np.uint8),
}
HALF, ONE = np.float32(0.5).reshape(()), np.float32(1).reshape(())
LSTM = {"hidden_size": 5}
PLAIN = "Abs Neg Floor Ceil Exp Erf Sin Cos Tan Atan Sinh Cosh Asinh Tanh Sigmoid Relu Round Sign Softplus Softsign"
CASES = [
    *(Case(op, ["x"]) for op in (*PLAIN.split(), "Identity", "Elu", "Selu", "LeakyRelu", "HardSigmoid")),
    *(Case(op, ["x"]) for op in ("ThresholdedRelu", "Shrink", "IsNaN", "IsInf", "Dropout", "LogSoftmax", "Hardmax")),
    *(Case(op, ["x"]) for op in ("Softmax", "LpNormalization", "Transpose", "Flatten", "ArgMax", "ArgMin", "Size")),
    *(Case(op, ["u"]) for op in ("Asin", "Acos", "Atanh")),
    *(Case(op, ["p"]) for op in ("Log", "Sqrt", "Reciprocal")),
    Case("Celu", ["x"], first=12),
    Case("Acosh", [1 + INPUTS["p"]]),
    *(
        Case(op, ["x", "y"])
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Equal", "Greater", "Less")
    ),
    *(Case(op, ["x", "y"], first=12) for op in ("GreaterOrEqual", "LessOrEqual")),
    *(Case(op, ["b", "b"]) for op in ("And", "Or", "Xor")),
    *(Case(op, ["i", "j"], first=18) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    *(Case(op, ["i", "j"]) for op in ("Div", "Mod")),
    Case("Mod", ["x", "p"], {"fmod": 1}),
    Case("Not", ["b"]),
    Case("BitwiseNot", ["i"], first=18),
    Case("BitShift", ["bytes", np.array(2, np.uint8)], {"direction": "LEFT"}),
    Case("Pow", ["p", ints(2)], first=12),
    Case("Where", ["b", "x", "y"]),
    Case("Cast", ["x"], {"to": 7}),
    Case("CastLike", ["i", "x"], first=15),
    Case("Clip", ["x", -HALF, HALF]),
    Case("Clip", ["x", None, HALF]),
    Case("PRelu", ["x", floats(4, 1)]),
    Case("PRelu", ["x", floats(6)]),
    Case("HardSwish", ["x"], first=14),
    Case("Mish", ["x"], first=18),
    Case("Gelu", ["x"], first=20),
    Case("Gelu", ["x"], {"approximate": "tanh"}, first=20),
    Case("Softmax", ["x"], {"axis": 1}),
    Case("Det", [floats(2, 3, 3)]),
    *(Case(f"Reduce{op}", ["x"], {"axes": [1]}, last=12) for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2")),
    *(Case(f"Reduce{op}", ["p"], {"axes": [0, -1]}, last=12) for op in ("SumSquare", "LogSum", "LogSumExp")),
    *(Case(f"Reduce{op}", ["p", ints(0, -1)], {"keepdims": 0}, first=18) for op in ("Mean", "Prod", "LogSumExp", "L2")),
    Case("ReduceSum", ["x", ints(1)], first=13),
    Case("ReduceSum", ["x"], {"noop_with_empty_axes": 1}, first=13),
    Case("ReduceMax", ["x"]),
    Case("ArgMax", ["j"], {"axis": 2, "select_last_index": 1}, first=12),
    Case("TopK", ["x", ints(2)], {"axis": 1}, outputs=2),
    Case("TopK", ["x", ints(3)], {"largest": 0}, outputs=2),
    Case("CumSum", ["x", ints(1)[0].reshape(())], {"exclusive": 1, "reverse": 1}),
    Case("Reshape", ["x", ints(0, -1, 2)]),
    Case("Flatten", ["image"], {"axis": -2}),
    Case("Transpose", ["x"], {"perm": [1, 2, 0]}),
    Case("Squeeze", [floats(1, 3, 1)], last=12),
    Case("Squeeze", [floats(1, 3, 1), ints(0)], first=13),
    Case("Unsqueeze", ["x"], {"axes": [0, -1]}, last=12),
    Case("Unsqueeze", ["x", ints(0, -1)], first=13),
    Case("Concat", ["x", "y"], {"axis": -1}),
    Case("Split", ["x"], {"axis": 1, "split": [1, 3]}, last=12, outputs=2),
    Case("Split", ["x", ints(1, 3)], {"axis": 1}, first=13, outputs=2),
    Case("Split", ["image"], {"axis": 2, "num_outputs": 2}, first=18, outputs=2),
    Case("Slice", ["x", ints(1, -4), ints(9, -1), ints(1, 2), ints(2, 1)]),
    Case("Slice", ["x", ints(-1, 3), ints(-(2**62), 0), ints(2, 1), ints(-2, -1)]),
    Case("Expand", ["x", ints(3, 1, 1, 6)]),
    Case("Tile", ["x", ints(1, 2, 3)]),
    Case("Pad", ["x", ints(0, 1, 2, 0, 0, 1), HALF]),
    Case("Pad", ["x", ints(0, 0, 2, 0, 0, 1)], {"mode": "reflect"}),
    Case("Pad", ["image", ints(0, 0, 1, 2, 0, 0, 0, 1)], {"mode": "edge"}),
    Case("Pad", ["x", ints(-1, 1), None, ints(2)], first=18),
    Case("DepthToSpace", ["image"], {"blocksize": 2}),
    Case("DepthToSpace", ["image"], {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [floats(1, 2, 4, 6)], {"blocksize": 2}),
    Case("EyeLike", ["matrix"], {"k": 1}),
    Case("Trilu", ["x"], first=14),
    Case("Trilu", ["x", ints(-1)], {"upper": 0}, first=14),
    Case("Gather", ["x", ints(1, -1)], {"axis": 1}),
    Case("Gather", ["matrix", RNG.integers(-5, 5, (2, 3))]),
    Case("Gather", ["x", np.array(-1)], {"axis": 2}),
    Case("GatherElements", ["x", RNG.integers(-4, 4, (2, 2, 6))], {"axis": 1}),
    Case("GatherND", ["x", RNG.integers(-2, 2, (3, 2))]),
    Case("GatherND", ["x", RNG.integers(-4, 4, (2, 1))], {"batch_dims": 1}, first=12),
    Case("ScatterElements", ["x", ints(1, -1, 0).reshape(1, 1, 3), floats(1, 1, 3)], {"axis": 2}),
    Case("ScatterElements", ["x", ints(1, 1).reshape(1, 1, 2), floats(1, 1, 2)], {"reduction": "add"}, first=18),
    Case("ScatterND", ["x", ints(0, 3, 1, -1).reshape(2, 2), floats(2, 6)]),
    Case("OneHot", [ints(0, -1, 7, 2), ints(4)[0].reshape(()), np.array([0.25, 2], np.float32)]),
    Case("NonZero", [np.array([[1, 0], [2, 3]], np.float32)]),
    Case("MatMul", ["x", floats(2, 6, 3)]),
    Case("MatMul", ["x", floats(6, 3)]),
    Case("Gemm", ["matrix", floats(3, 6), floats(3)], {"transB": 1}),
    Case("Gemm", ["matrix", floats(5, 3), floats(6, 1)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Einsum", ["x", "y"], {"equation": "bij, bkj -> bik"}, first=12),
    Case("Conv", ["x", floats(3, 4, 3), floats(3)], {"pads": [1, 1]}),
    Case("Conv", ["image", floats(4, 2, 3, 3)], {"group": 2, "strides": [2, 1], "dilations": [1, 2]}),
    Case("Conv", ["image", floats(4, 4, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", ["image", floats(4, 4, 4, 2)], {"auto_pad": "SAME_LOWER"}),
    Case("Conv", ["image", floats(4, 4, 3, 3)], {"pads": [0, 1, 2, 1]}),
    Case("ConvTranspose", ["image", floats(4, 3, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("ConvTranspose", ["image", floats(4, 3, 3, 3)], {"strides": [2, 2], "pads": [0, 1, 2, 0]}),
    Case("ConvTranspose", ["image", floats(4, 3, 3, 3)], {"strides": [2, 2], "output_shape": [14, 16]}),
    Case("ConvTranspose", ["x", floats(4, 1, 3)], {"strides": [2], "output_padding": [1]}),
    Case("MaxPool", ["image"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", ["image"], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", ["image"], {"kernel_shape": [2, 3], "pads": [0, 1, 1, 2], "dilations": [2, 1]}),
    Case("AveragePool", ["image"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", ["image"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", ["image"], {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("GlobalAveragePool", ["image"]),
    Case("GlobalMaxPool", ["image"]),
    Case("BatchNormalization", ["image", floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1]),
    Case("InstanceNormalization", ["image", floats(4), floats(4)]),
    Case("LayerNormalization", ["x", floats(6), floats(6)], first=17),
    Case("LayerNormalization", ["x", floats(4, 6)], {"axis": 1}, first=17),
    Case("GroupNormalization", ["image", floats(4), floats(4)], {"num_groups": 2}, first=21),
    Case("LRN", ["image"], {"size": 3}),
    Case("MeanVarianceNormalization", ["image"]),
    *(
        Case("Resize", ["image", None, np.array([1, 1, 2, 1.5], np.float32)], {"mode": mode, **how}, first=13)
        for mode in ("nearest", "linear", "cubic")
        for how in (
            {},
            {"coordinate_transformation_mode": "asymmetric"},
            {"coordinate_transformation_mode": "align_corners"},
        )
    ),
    Case("Resize", ["image", None, None, ints(2, 4, 5, 9)], {"mode": "linear"}, first=13),
    Case("Resize", ["image", None, None, ints(2, 4, 14, 16)], {"nearest_mode": "floor"}, first=13),
    Case("Resize", ["image", None, None, ints(2, 4, 4, 3)], {"mode": "linear", "antialias": 1}, first=18),
    Case(
        "Resize", ["image", None, None, ints(9, 9)], {"mode": "cubic", "axes": [2, 3], "exclude_outside": 1}, first=18
    ),
    Case("GridSample", ["image", floats(2, 3, 3, 2)], {"mode": "linear"}, first=20),
    Case(
        "LSTM",
        ["x", floats(2, 20, 6), floats(2, 20, 5), floats(2, 40)],
        {**LSTM, "direction": "bidirectional"},
        outputs=3,
    ),
    Case("LSTM", ["x", floats(1, 20, 6), floats(1, 20, 5)], {**LSTM, "direction": "reverse"}, outputs=3),
    Case(
        "GRU", ["x", floats(1, 15, 6), floats(1, 15, 5), floats(1, 30)], {**LSTM, "linear_before_reset": 1}, outputs=2
    ),
    Case("RNN", ["x", floats(1, 5, 6), floats(1, 5, 5), floats(1, 10)], {**LSTM, "activations": ["Relu"]}, outputs=2),
    Case("DynamicQuantizeLinear", ["matrix"], outputs=3),
    Case("MatMulInteger", ["bytes", RNG.integers(0, 255, (6, 3)).astype(np.uint8), np.uint8(7), np.uint8(9)]),
    Case(
        "ConvInteger",
        [RNG.integers(0, 255, (1, 2, 5)).astype(np.uint8), RNG.integers(0, 9, (1, 2, 3)).astype(np.uint8)],
    ),
    Case("QuantizeLinear", ["x", np.float32(0.05), np.int8(3)]),
    Case("DequantizeLinear", ["bytes", floats(6), np.arange(6).astype(np.uint8)], {"axis": 1}, first=13),
    Case("Gelu", ["x"], domain="com.microsoft"),
    Case("QuickGelu", ["x"], domain="com.microsoft"),
    Case("FastGelu", ["x", floats(6)], domain="com.microsoft"),
    Case("BiasGelu", ["x", floats(6)], domain="com.microsoft"),
    Case("FusedMatMul", ["x", "y"], {"transB": 1, "alpha": 0.25}, domain="com.microsoft"),
    Case("SkipLayerNormalization", ["x", "y", floats(6), floats(6), floats(6)], domain="com.microsoft"),
    Case("Attention", ["x", "y", "x"], {"q_num_heads": 2, "kv_num_heads": 2}, first=23),
    Case("RMSNormalization", ["x", floats(6)], first=23),
]


@pytest.mark.parametrize("opset", [11, 13, 18, 23])
def test_operators_compute_what_onnx_runtime_computes(tmp_path: Path, opset: int) -> None:
    cases = [case for case in CASES if case.first <= opset <= case.last]
    path = tmp_path / "cases.onnx"
    onnx.save(model(cases, INPUTS, opset), path)
    expected = reference(path, INPUTS)
    found = load(path).program.run(INPUTS)
    assert list(found) == list(expected)
    for name, array in expected.items():
        result = found[name]
        assert (result.shape, result.dtype) == (array.shape, array.dtype), name
        np.testing.assert_allclose(result, array, rtol=1e-5, atol=1e-5 * max(1, np.abs(array).max()), err_msg=name)


def test_every_translation_has_a_case() -> None:
    tried = {(case.domain, case.op) for case in CASES}
    elsewhere = {
        ("", op) for op in ("Shape", "ConstantOfShape", "Range", "RotaryEmbedding", "QLinearConv", "QLinearMatMul")
    }
    elsewhere |= {("com.microsoft", op) for op in ("QLinearAdd", "QLinearMul", "QuantizeLinear", "DequantizeLinear")}
    elsewhere |= {("com.microsoft", "SimplifiedLayerNormalization"), ("", "Swish")}
    assert {key for key in TABLE if key[0] != "edgeopt"} - tried == elsewhere
