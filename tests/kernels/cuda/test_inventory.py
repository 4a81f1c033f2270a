"""Torch operator, ONNX node and plug-in are one thing under one name."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

import pytest
import torch

import edgeopt.ops.binary_linear
import edgeopt.ops.fp4_linear
import edgeopt.ops.linear_attention
import edgeopt.ops.rms_norm  # noqa: F401  # these register the operators
from edgeopt.kernels.cuda.inventory import PLUGINS, ROOT, kernels, plugin_sources
from edgeopt.ops.operator import onnx_functions


def functions_of(made: Any, depth: int = 3) -> dict[str, Any]:
    """Return the onnxscript functions that a builder's result is, or closes over."""
    if depth == 0:
        return {}
    if hasattr(made, "function_ir"):
        return {made.name: made}
    inner: list[Any] = []
    if isinstance(made, dict):
        inner = list(made.values())
    elif isinstance(made, FunctionType):
        inner = [cell.cell_contents for cell in made.__closure__ or ()]
    return {name: found for part in inner for name, found in functions_of(part, depth - 1).items()}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.node)
def test_the_node_is_the_operators_function_with_its_inputs_and_attributes(plugin: Any) -> None:
    namespace, name = plugin.operator.split("::")
    assert hasattr(getattr(torch.ops, namespace), name)
    function = functions_of(onnx_functions()[plugin.operator](), 5)[plugin.node]
    signature = function.function_ir
    assert signature.domain == plugin.namespace
    assert len(signature.inputs) == len(plugin.inputs)
    assert [a.name for a in signature.attrs] == [a.name for a in plugin.attributes]


def test_every_kernel_has_its_launcher_and_its_plugin() -> None:
    for plugin in PLUGINS:
        assert f"eo_{plugin.kernel}(" in plugin.header.read_text()
        source = plugin.source.read_text()
        assert f"class {plugin.cpp_class} " in source
        fields = re.findall(r'PluginField\("(\w+)", nullptr, trt::PluginFieldType::k(\w+)', source)
        kinds = {"float": "FLOAT32", "int": "INT32"}
        assert fields == [(a.name, kinds[a.kind]) for a in plugin.attributes]
    shared, without_plugin = (
        {"common", "feature_maps", "linear_attention_mma", "linear_attention_single"},
        {"flow_attention"},
    )
    assert {path.stem for path in ROOT.glob("*.cuh")} == {*kernels(), *shared, *without_plugin}


def test_sources_of_a_plugin_are_all_it_includes() -> None:
    found = [path.name for path in plugin_sources([p for p in PLUGINS if p.node == "LinearAttention"])]
    kernels = ["common.cuh", "feature_maps.cuh", "linear_attention.cuh", "linear_attention_mma.cuh"]
    assert found == [*kernels, "linear_attention_plugin.h", "plugin.h"]
