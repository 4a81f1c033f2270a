"""ONNX nodes bear the names of the program's nodes, and what runtimes make of them is told back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgeopt import onnx
from edgeopt.ir.program import Program
from edgeopt.onnx.names import RuntimeNames, program_name, read
from edgeopt.onnx.session import OnnxSession
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.passes.exact.standard import PACKED
from edgeopt.passes.pipeline import Pipeline
from edgeopt.plugins.testing import to_program

aten = torch.ops.aten


class Shifted(nn.Module):
    """Folding the normalizations names two convolutions anew, the third not."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(2))
        self.linear = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=False):
            x = torch.relu(norm(conv(x)))
        y = self.linear((self.convs[2](x) + x).flatten(2))
        return nn.functional.scaled_dot_product_attention(y, y, y)


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    plain = to_program(Shifted().eval(), (torch.zeros(1, 2, 2, 4),))
    return Pipeline([step.build() for step in PACKED]).run(plain)[0]


@pytest.fixture(scope="module")
def model(program: Program) -> ir.Model:
    return onnx.translate(program).model


def test_a_node_is_called_after_what_it_computes(program: Program, model: ir.Model) -> None:
    convolutions = [node.name for node in program.calls if node.target is aten.conv2d.default]
    assert convolutions != ["conv2d", "conv2d_1", "conv2d_2"]  # as torch.onnx counts
    assert [program_name(str(n.name)) for n in model.graph if n.op_type == "Conv"] == convolutions
    assert {program_name(str(n.name)) for n in model.graph} <= {n.name for n in program.calls} | {"clone"}


def test_names_of_nodes_and_of_values_are_their_own(model: ir.Model) -> None:
    names = [node.name for node in model.graph]
    values = [value.name for node in model.graph for value in node.outputs]
    values += [value.name for value in (*model.graph.inputs, *model.graph.initializers.values())]
    assert len(set(names)) == len(names) and len(set(values)) == len(values)


def test_what_is_decomposed_names_its_parts(model: ir.Model) -> None:
    parts = [str(node.name) for node in model.graph if "attention" in str(node.name)]
    assert parts[-1] == "node_scaled_dot_product_attention"
    assert "node_scaled_dot_product_attention/Softmax_0" in parts


def test_the_value_that_matters_bears_the_name(program: Program, model: ir.Model, tmp_path: Path) -> None:
    """Every convolution's value, by name, is what the program's node of that name computes."""
    inner = [node.name for node in program.calls if node.target is aten.conv2d.default]
    model = ir.from_proto(ir.to_proto(model))
    found = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(found[name] for name in inner)
    ir.save(model, tmp_path / "model.onnx")
    x = {"x": np.random.default_rng(0).standard_normal((1, 2, 2, 4)).astype(np.float32)}
    expected: dict[str, np.ndarray] = {}

    def keep(node: torch.fx.Node, value: torch.Tensor) -> None:
        expected[node.name] = value.numpy()

    program.run(x, keep)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for name, got in zip(inner, session.run(inner, x), strict=True):
        np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("node_{first}", "Conv", "{first}"),
        ("node_{first}_token_29", "QLinearConv", "{first}"),
        ("fused node_linear/Gemm_0/GemmTransposeFusion/", "FusedGemm", "linear/Gemm_0"),
        ("relu_nchwc", "Conv", "{first},relu"),  # called after the value of the activation
        ("node_relu", "Relu", "relu"),
        ("node_add", "Conv", "add"),  # of two that are added neither is told
        ("ReorderOutput", "ReorderOutput", "ReorderOutput"),
        ("relu_99_nchwc", "Conv", "relu_99_nchwc"),
    ],
)
def test_runtime_names_tell_what_is_computed(
    program: Program, model: ir.Model, tmp_path: Path, name: str, kind: str, told: str
) -> None:
    onnx.save(model, tmp_path / "model.onnx")
    first = next(node.name for node in program.calls)
    names = RuntimeNames(read(tmp_path / "model.onnx"))
    assert names.of(name.format(first=first), kind) == told.format(first=first)


def test_what_runs_in_the_body_of_a_function_bears_the_name_of_its_call(tmp_path: Path) -> None:
    class Signs(nn.Module):
        def forward(self, x: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                x = torch.relu(BINARY_LINEAR(x, shift, weight, shift, shift))
            return x

    torch.manual_seed(0)
    weight = torch.randint(-9, 9, (64, 2), dtype=torch.int32)
    program = to_program(Signs(), (torch.zeros(1, 64), torch.zeros(64), weight))
    onnx.save(onnx.translate(program).model, tmp_path / "model.onnx")
    inputs = {"x": np.ones((1, 64), np.float32), "shift": np.ones(64, np.float32), "weight": weight.numpy()}
    session = OnnxSession(tmp_path / "model.onnx", 1, "all")
    before = session.run(inputs)
    layers = session.layers(inputs, 2)
    assert {layer.computes[0] for layer in layers if "MatMul" in layer.type} == {"binary_linear", "binary_linear_1"}
    assert not any("_inlfunc_" in layer.name for layer in layers)
    np.testing.assert_array_equal(session.run(inputs)["output"], before["output"])


@pytest.mark.parametrize("optimization", ["none", "extended", "all"])
def test_onnx_runtime_times_every_layer_under_its_name(
    program: Program, model: ir.Model, tmp_path: Path, optimization: str
) -> None:
    onnx.save(model, tmp_path / "model.onnx")
    session = OnnxSession(tmp_path / "model.onnx", 1, optimization)
    layers = session.layers({"x": np.ones((1, 2, 2, 4), np.float32)}, 2)
    told = [program_name(part) for layer in layers for part in layer.name.split(",") if "Conv" in layer.type]
    heavy = [node.name for node in program.calls if node.target is aten.conv2d.default]
    assert [name for name in told if name in heavy] == heavy
    assert any(program_name(layer.name) == "linear" for layer in layers)
