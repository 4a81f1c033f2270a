"""What the stand-ins for TensorRT refuse: each rule by a graph that breaks it alone, and TensorRT-RTX on the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeopt.targets.tensorrt.rtx.build import INSTALL, versions
from tests.targets.tensorrt.onnx_rules import refusals

HEADER = '<ir_version: 11, opset_import: ["" : {opset}, "edgeopt" : 1]>\n'
PAIR = """g (float[2,8] x) => (float[2,8] y) <float s = {0.5}, int8 z = {0}> {
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    y = Relu(d)
}"""
BLOCKED = """g (float[2,8] x) => (float[2,4] y) {
    w = DequantizeLinear<axis = 0, block_size = 4>(stored, scales)
    y = MatMul(x, w)
}"""
PLUGIN = """g (float16[2,8] x, float16[8] weight) => (float16[2,8] y) {
    y = edgeopt.RmsNorm<epsilon = 1e-5, plugin_namespace = "edgeopt", plugin_version = "1">(x, weight)
}
<domain: "edgeopt", opset_import: ["" : 19]>
RmsNorm<epsilon, plugin_namespace, plugin_version>(x, weight) => (y) { y = Mul(x, weight) }"""


def model(text: str, opset: int = 19) -> ModelProto:
    parsed = onnx.parser.parse_model(HEADER.format(opset=opset) + text)
    for node in parsed.graph.node:
        node.name = node.output[0]
    return parsed


def blocked(rows: int = 2) -> ModelProto:
    """A weight of 8 x 4 numbers in four bits, with a scale for each four of a column."""
    made = model(BLOCKED, opset=21)
    made.graph.initializer.append(helper.make_tensor("stored", TensorProto.INT4, (8, 4), [1] * 32))
    made.graph.initializer.append(numpy_helper.from_array(np.full((rows, 4), 0.5, np.float32), "scales"))
    return made


def changed(text: str, *changes: tuple[str, str]) -> Callable[[], ModelProto]:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return lambda: model(text)


BY_CHANNEL = """g (float[2,4] x) => (float[2,2] y) <float[2] s = {0.5, 0.25}, int8[2,4] w = {1,2,3,4,5,6,7,8}> {
    d = DequantizeLinear<axis = 0>(w, s)
    y = Gemm<transB = 1>(x, d)
}"""
OPEN = """g (float[2,8] x) => (int8[2,8] y) <float s = {0.5}, int8 z = {0}> {
    q = QuantizeLinear(x, s, z)
    y = Abs(q)
}"""
READ: dict[str, Callable[[], ModelProto]] = {
    "a pair": changed(PAIR),
    "a plug-in": changed(PLUGIN),
    "a scale for each channel of a weight": changed(BY_CHANNEL),
    "int4 in blocks": blocked,
}
REFUSED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "an operator that it lacks": (
        changed("g (float[2,4,4] x) => (float[2] y) { y = Det(x) }"),
        "no operator, plug-in or local function is called ai.onnx.Det",
    ),
    "an operator of nobody": (
        changed("g (float[2] x) => (float[2] y) { y = edgeopt.Unheard(x) }"),
        "is called edgeopt.Unheard",
    ),
    "a type that an operator lacks": (
        changed("g (int32[2] x) => (int32[2] y) { y = Relu(x) }"),
        "y: Relu does not take INT32",
    ),
    "float64": (changed("g (double[2] x) => (double[2] y) { y = Add(x, x) }"), "not of type DOUBLE"),
    "two types in one sum": (
        changed("g (float[2] x, float16[2] z) => (float[2] y) { y = Add(x, z) }"),
        "inconsistent type",
    ),
    "a shape that does not follow": (
        changed("g (float[2,8] x) => (float[2,9] y) { y = Relu(x) }"),
        "differ in dimension",
    ),
    "a zero point": (changed(PAIR, ("z = {0}", "z = {3}")), "the zero point is not 0"),
    "a scale below zero": (changed(PAIR, ("s = {0.5}", "s = {-0.5}")), "the scale is not positive"),
    "a scale that is computed": (
        changed(PAIR, ("float s = {0.5}, ", ""), ("[2,8] x)", "[2,8] x, float s)")),
        "the scale is not a constant",
    ),
    "activations with a scale for each channel": (
        changed(
            PAIR,
            ("float s = {0.5}", "float[2] s = {0.5, 0.5}"),
            ("int8 z = {0}", "int8[2] z = {0, 0}"),
            ("Linear(", "Linear<axis = 0>("),
        ),
        "activations have a scale for each tensor",
    ),
    "scales that do not fit": (
        changed(BY_CHANNEL, ("[2] s = {0.5, 0.25}", "[3] s = {0.5, 0.25, 1}")),
        "3 scales do not fit axis 0",
    ),
    "integers that no pair closes": (changed(OPEN), "quantized values are read by Abs"),
    "blocks that do not fit": (lambda: blocked(rows=4), "are not one for each block of 4 along axis 0"),
    "a plug-in without namespace": (changed(PLUGIN, ('plugin_namespace = "edgeopt", ', "")), "of this namespace"),
    "a plug-in of another version": (changed(PLUGIN, ('= "1"', '= "2"')), "of this version"),
    "a plug-in without a field": (changed(PLUGIN, ("epsilon = 1e-5, ", "")), "finds no field epsilon"),
    "a field of another type": (changed(PLUGIN, ("1e-5", "1")), "epsilon is not a single float"),
    "a plug-in with an input too few": (
        changed(
            PLUGIN,
            (">(x, weight)\n}", ">(x)\n}"),
            ("(x, weight) => (y) { y = Mul(x, weight) }", "(x) => (y) { y = Neg(x) }"),
        ),
        "reads 2 inputs, not 1",
    ),
    "a type that a plug-in lacks": (changed(PLUGIN, ("float16", "int32")), "in float32 or half, not in INT32"),
    "two types in one plug-in": (
        changed(PLUGIN, ("float16[8] weight", "float[8] weight"), ("Mul(x, weight)", "Neg(x)")),
        "takes weight as FLOAT16, not as FLOAT",
    ),
    "a plug-in's shape that does not follow": (
        changed(PLUGIN, ("float16[2,8] y", "float16[8,2] y"), ("Mul(x, weight)", "Transpose(x)")),
        "the plug-in returns [2, 8], the graph says [8, 2]",
    ),
}
RTX_TOO = {
    "an operator that it lacks",
    "an operator of nobody",
    "a type that an operator lacks",
    "two types in one sum",
    "a zero point",
    "a scale below zero",
    "scales that do not fit",
}
"""What TensorRT-RTX's parser refuses as well. It knows no plug-ins, and leaves the other rules to the device."""


@pytest.mark.parametrize("name", READ)
def test_what_is_legal_is_read(name: str) -> None:
    assert refusals(READ[name]()) == []


@pytest.mark.parametrize("name", REFUSED)
def test_each_rule_refuses_what_breaks_it(name: str) -> None:
    made, said = REFUSED[name]
    found = refusals(made())
    assert any(said in sentence for sentence in found), found


def test_a_plug_in_that_is_not_registered_is_refused() -> None:
    made = model(PLUGIN)
    del made.functions[:]
    (said,) = refusals(made, plugins=())
    assert "is called edgeopt.RmsNorm" in said


PARSE = """
import json, sys
import tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
builder = trt.Builder(logger)
networks = [builder.create_network(0) for _ in sys.argv[1:]]  # a parser does not keep its own alive
parsers = [trt.OnnxParser(network, logger) for network in networks]
print(json.dumps([parser.parse_from_file(path) for parser, path in zip(parsers, sys.argv[1:])]))
"""


@pytest.mark.skipif(not versions(), reason=f"TensorRT-RTX is not installed: {INSTALL}")
def test_the_parser_of_tensorrt_rtx_agrees(tmp_path: Path) -> None:
    graphs = {**READ, **{name: made for name, (made, _) in REFUSED.items()}}
    files = [tmp_path / f"{index}.onnx" for index in range(len(graphs))]
    for file, made in zip(files, graphs.values(), strict=True):
        onnx.save(made(), file)
    done = subprocess.run([sys.executable, "-c", PARSE, *map(str, files)], capture_output=True, text=True, check=True)
    refused = {
        name for name, is_read in zip(graphs, json.loads(done.stdout.splitlines()[-1]), strict=True) if not is_read
    }
    assert refused == RTX_TOO
