"""The jetson target: the contract, FP16's range, precisions as they stand in the graph, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import Unsupported, UserError
from edgeopt.ir.metrics import compare
from edgeopt.onnx.session import OnnxSession
from edgeopt.ops.binary_linear import binary_linear
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.passes.quantization.weight_only import WeightOnlyQuantization
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract, to_program
from edgeopt.quant.binary import pack
from edgeopt.records.run import Run
from edgeopt.targets.tensorrt.family import TensorRtFamily, TensorRtOptions
from edgeopt.targets.tensorrt.plugins import with_plugin_operators
from edgeopt.targets.tensorrt.profiles import Profile
from tests.targets.tensorrt.models import LinearVit, Masked, Mlp, Overflowing
from tests.targets.tensorrt.onnx_rules import refusals_of
from tests.typed import fixed_shape

IMAGE = {"x": torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
ROWS = {"x": torch.randn(4, 64, generator=torch.Generator().manual_seed(1))}


class TestJetson(TargetContract):
    target = "jetson"
    options = {"precision": "fp32"}

    def test_layers_are_named_and_timed(self) -> None:
        """What runs here stands in for the device: its layers are not the device's."""
        session = self.open()
        assert session.stands_in and session.layers(self.samples()[0], 3) == ()
        session.close()


def export(model: nn.Module, folder: Path, inputs: dict[str, torch.Tensor], target: str = "jetson", **more: Any) -> Run:
    """Export; whatever comes out is what TensorRT reads."""
    run = edgeopt.export(model.eval(), target, folder, inputs=inputs, **more)
    assert [said for path in folder.glob("*.onnx") for said in refusals_of(path)] == []
    return run


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def types(path: Path) -> dict[str, int]:
    """Return the element type of every value of a model, as ONNX infers it."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    return known | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_a_device_means_orin_by_default() -> None:
    assert resolve("jetson").device.name == "jetson-orin"
    assert resolve("jetson-thor").device.facts["capability"] == "11.0"


def test_fp16_is_what_the_graph_computes_in(tmp_path: Path) -> None:
    run = export(Mlp(), tmp_path / "out", ROWS)
    known, graph = types(tmp_path / "out" / "model.onnx"), onnx.load(tmp_path / "out" / "model.onnx").graph
    layers = {layer["name"]: layer["precision"] for layer in manifest(tmp_path / "out")["deployment"]["layers"]}
    half = onnx.TensorProto.FLOAT16
    for node in graph.node:
        if node.op_type != "Cast":
            assert known[node.output[0]] == half and layers[node.name.removeprefix("node_")] == "fp16"
    assert known["x"] == known["output"] == onnx.TensorProto.FLOAT
    assert run.error is not None and 1e-5 < run.error.relative < 2e-3
    assert run.latency is None and run.target.precision_executed is None
    emulated = "emulated by ONNX Runtime, not run on TensorRT"
    assert f"{emulated} (in place of jetson-orin)" in str(run.target.hardware)
    assert emulated in (tmp_path / "out" / "report.html").read_text()


def test_what_leaves_fp16s_range_is_kept_in_fp32_and_named(tmp_path: Path) -> None:
    run = export(Overflowing(), tmp_path / "out", ROWS)
    reasons = {fallback.node: fallback.reason for fallback in run.fallbacks}
    assert "FP16 ends at 65,504" in reasons["mul_1"] and "mean" in reasons
    assert reasons["clamp_min"] == "kept in FP32: its constant 1e-12 is zero in FP16"
    assert "linear_2" not in reasons and "linear_1" not in reasons
    assert run.error is not None and run.error.relative < 2e-3
    told = {one["node"] for one in manifest(tmp_path / "out")["deployment"]["kept_in_fp32"]}
    assert told == set(reasons)


def test_what_meets_a_floor_is_kept_with_it(tmp_path: Path) -> None:
    """Squares of small rows are zero in FP16, and the inverse of the floor alone infinite: it was NaN, silently."""
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.RMSNorm(64, eps=1e-12), nn.Linear(64, 8))
    small = {"input": 3e-4 * ROWS["x"] * torch.tensor([[1.0], [0.0], [0.1], [1000.0]])}
    run = export(model, tmp_path / "out", small)
    assert run.error is not None and run.error.relative < 2e-3
    assert any(note.startswith("FP16's range was checked for 'input' up to ") for note in run.notes)
    kept = {fallback.op: fallback.reason for fallback in run.fallbacks}
    assert kept["ReduceMean"] == "kept in FP32: it meets the floor 1e-12, which is zero in FP16"
    assert {"Add", "Reciprocal", "Mul"} <= set(kept) and "MatMul" not in kept and "Gemm" not in kept


def test_unchecked_the_same_model_overflows(tmp_path: Path) -> None:
    target = resolve("jetson")
    program = to_program(Overflowing(), (ROWS["x"],))
    artifact = target.compile(program, tmp_path, target.Options())
    assert "FP16's range was not checked: no values were observed" in artifact.notes
    got = target.open(tmp_path, target.Options()).run({"x": ROWS["x"].numpy()})["output"]
    expected = program.run({"x": ROWS["x"].numpy()})["output"]
    assert not np.abs(got - expected).max() <= 0.1 * np.abs(expected).max()


def test_masks_are_rescaled(tmp_path: Path) -> None:
    run = export(Masked(), tmp_path / "out", {"scores": torch.randn(2, 4, 16)})
    assert any("was minus infinity, now -32768" in note for note in run.notes)
    assert not run.fallbacks
    assert run.error is not None and run.error.relative < 2e-3


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    rng = np.random.default_rng(0)
    np.savez(folder / "calib.npz", x=rng.standard_normal((16, 3, 8, 8), dtype=np.float32))
    export(LinearVit(), folder / "out", IMAGE, precision="int8", calib=str(folder / "calib.npz"))
    return folder / "out"


def behind(producers: dict[str, onnx.NodeProto], name: str) -> str | None:
    """Return the operator that makes a value, beyond what only moves it."""
    while name in producers and producers[name].op_type in ("Transpose", "Reshape"):
        name = producers[name].input[0]
    return producers[name].op_type if name in producers else None


def test_int8_is_explicit_symmetric_and_stated(quantized: Path) -> None:
    model = onnx.load(quantized / "model.onnx")
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert constants[node.input[1]].dtype == np.float16
        assert len(node.input) < 3 or not constants[node.input[2]].any()
    deployment = manifest(quantized)["deployment"]
    stated = {layer["name"]: layer["precision"] for layer in deployment["layers"]}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            read = [behind(producers, name) for name in node.input[:2]]
            computes = read == ["DequantizeLinear"] * 2
            assert (stated[node.name.removeprefix("node_")] == "int8") is computes
    assert list(stated.values()).count("int8") >= 4
    assert deployment["opset"] == next(o.version for o in model.opset_import if o.domain == "") == 19
    needs = {"jetpack": "6.2", "tensorrt": "10.3", "cuda": "12.6", "compute_capability": "8.7"}
    assert deployment["requires"] == needs


def test_both_variants_agree(quantized: Path) -> None:
    names = [domain.domain for domain in onnx.load(quantized / "model.onnx").opset_import]
    assert "edgeopt" not in names
    calls = [node for node in onnx.load(quantized / "model_plugins.onnx").graph.node if node.domain == "edgeopt"]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in calls[0].attribute}
    assert [call.op_type for call in calls] == ["LinearAttention"]
    assert attributes["plugin_namespace"] == b"edgeopt" and attributes["plugin_version"] == b"1"
    sample = {"x": IMAGE["x"].numpy()}
    got = [OnnxSession(quantized / f"{name}.onnx", 1, "all").run(sample) for name in ("model", "model_plugins")]
    np.testing.assert_allclose(got[0]["output"], got[1]["output"], rtol=0.02, atol=0.02)


class Signs(nn.Module):
    """A layer of packed signs between two linears."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 600), nn.Linear(600, 8)
        self.register_buffer("weight", pack(torch.randn(600, 600)))
        self.register_buffer("scale", torch.rand(600))
        self.register_buffer("shift", torch.randn(600) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(binary_linear(self.first(x), self.shift, self.weight, self.scale, self.scale))


def test_a_binary_layer_is_a_body_and_a_plugin(tmp_path: Path) -> None:
    run = export(Signs(), tmp_path / "out", ROWS)
    assert run.error is not None and run.error.sqnr_db > 15  # FP16 turns a few signs next to zero
    bodies, plugins = (onnx.load(tmp_path / "out" / f"{name}.onnx").graph for name in ("model", "model_plugins"))
    # Unpacked here: TensorRT would hold an integer of 32 bits for each.
    assert (onnx.TensorProto.FLOAT16, [600, 600]) in [(t.data_type, list(t.dims)) for t in bodies.initializer]
    assert onnx.TensorProto.INT32 not in {t.data_type for t in bodies.initializer}
    (call,) = [node for node in plugins.node if node.domain == "edgeopt"]
    assert call.op_type == "BinaryLinear" and len(call.input) == 5
    kinds = {t.name: t.data_type for t in plugins.initializer}
    assert kinds[call.input[2]] == onnx.TensorProto.INT32
    assert all(kinds[call.input[index]] == onnx.TensorProto.FLOAT16 for index in (1, 3, 4))
    library = (tmp_path / "out" / "plugins" / "library.cu").read_text()
    assert "BinaryLinearPlugin" in library and "LinearAttention" not in library


class Stack(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x)
        return x


class Attentive(nn.Module):
    """Linear attention whose features are few, or all products of two channels."""

    def __init__(self, feature_map: str) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return linear_attention(q, k, v, self.feature_map)


@pytest.mark.parametrize(("kind", "plugins"), [("relu", 1), ("taylor", 0)])
def test_attention_with_more_features_than_shared_memory_takes_is_written_out(kind: str, plugins: int) -> None:
    program = to_program(Attentive(kind), tuple(torch.randn(1, 2, 40, 64) for _ in range(3)))
    fitting = with_plugin_operators(program)
    assert [node.target for node in fitting.calls].count(torch.ops.edgeopt.linear_attention.default) == plugins
    sample = {
        spec.name: np.random.default_rng(0).normal(size=fixed_shape(spec)).astype(np.float32) for spec in program.inputs
    }
    assert compare(program.run(sample), fitting.run(sample)).relative < 1e-5


def test_a_norm_is_a_body_and_a_plugin(tmp_path: Path) -> None:
    model = Stack(nn.RMSNorm(64, eps=1e-5), nn.Linear(64, 64), nn.RMSNorm(64, elementwise_affine=False))
    model.get_parameter("0.weight").data.uniform_(0.5, 2)
    run = export(model, tmp_path / "out", {"x": 300 * ROWS["x"]})
    assert run.error is not None and run.error.relative < 2e-3
    graph = onnx.load(tmp_path / "out" / "model_plugins.onnx").graph
    calls = [node for node in graph.node if node.domain == "edgeopt"]
    assert [(call.op_type, len(call.input)) for call in calls] == [("RmsNorm", 2)] * 2
    epsilons = [onnx.helper.get_attribute_value(a) for call in calls for a in call.attribute if a.name == "epsilon"]
    assert epsilons == pytest.approx([1e-5, torch.finfo(torch.float32).eps])
    known = types(tmp_path / "out" / "model_plugins.onnx")
    # The kernel squares in float32: what a body keeps in FP32 is FP16 here.
    assert [known[call.input[0]] for call in calls] == [onnx.TensorProto.FLOAT16] * 2
    assert {layer["precision"] for layer in manifest(tmp_path / "out")["deployment"]["plugin_layers"]} == {"fp16"}
    agree(tmp_path / "out", {"x": 300 * ROWS["x"].numpy()})


@pytest.mark.parametrize("bias", [True, False])
def test_an_fp4_linear_is_a_body_and_a_plugin(tmp_path: Path, bias: bool) -> None:
    model = Stack(nn.Linear(64, 40, bias=bias), nn.ReLU(), nn.Linear(40, 8))  # 40 do not divide into blocks
    export(model, tmp_path / "out", ROWS, "jetson-thor", precision="nvfp4")
    bodies = onnx.load(tmp_path / "out" / "model.onnx").graph
    plugins = onnx.load(tmp_path / "out" / "model_plugins.onnx").graph
    assert onnx.TensorProto.FLOAT4E2M1 in {tensor.data_type for tensor in bodies.initializer}
    (call,) = [node for node in plugins.node if node.domain == "edgeopt"]
    kinds = {t.name: (t.data_type, tuple(t.dims)) for t in plugins.initializer}
    byte, half = onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16
    expected = [(byte, (40, 32)), (byte, (40, 4)), (half, (40,))]
    assert call.op_type == "Fp4Linear" and [kinds[name] for name in call.input[1:]] == expected
    layers = {layer["op"]: layer["precision"] for layer in manifest(tmp_path / "out")["deployment"]["plugin_layers"]}
    assert layers["Fp4Linear"] == "fp16 with fp4 weights"
    assert (tmp_path / "out" / "plugins" / "plugins" / "fp4_linear_plugin.h").is_file()
    agree(tmp_path / "out", {"x": ROWS["x"].numpy()}, "jetson-thor")


def agree(folder: Path, sample: dict[str, np.ndarray], target: str = "jetson") -> None:
    """Assert that both variants give the same, the plug-ins by the functions behind them."""
    chosen = resolve(target)
    bodies = chosen.open(folder, chosen.Options()).run(sample)["output"]
    plugins = OnnxSession(folder / "model_plugins.onnx", 1, "all").run(sample)["output"]
    np.testing.assert_allclose(plugins, bodies, rtol=0, atol=4e-3 * np.abs(bodies).max())


@pytest.mark.parametrize(
    ("target", "options", "said", "hint"),
    [
        (
            "jetson-orin",
            {"precision": "nvfp4"},
            "its compute capability is 8.7, nvfp4 starts at 10.0",
            "--precision int4",
        ),
        ("jetson-orin", {"precision": "fp8"}, "its compute capability is 8.7, fp8 starts at 8.9", "--precision int8"),
        ("jetson-orin", {"jetpack": "5.1"}, "there is no JetPack '5.1'", "6.1"),
        ("jetson-orin", {"jetpack": "7.1"}, "JetPack 7.1 does not run on 'jetson-orin'", "6.2"),
        ("jetson-thor", {"jetpack": "6.2"}, "JetPack 6.2 does not run on 'jetson-thor'", "7.1"),
        ("jetson-orin", {"precision": "fp7"}, "does not run precision 'fp7'", "fp16"),
        ("jetson-orin", {"float_precision": "bf16"}, "float-precision is 'bf16'", "fp16 or fp32"),
    ],
)
def test_what_the_device_lacks_is_refused(
    target: str, options: dict[str, Any], said: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        export(Mlp(), tmp_path / "out", ROWS, target, **options)
    assert said in refused.value.message and hint in str(refused.value.hint)
    assert not (tmp_path / "out").exists()


@torch.library.custom_op("tests_tensorrt::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


@cube.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cube(x)


def test_an_operator_without_body_or_plugin_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as refused:
        export(Foreign(), tmp_path / "out", ROWS)
    (placement,) = refused.value.placements
    assert placement.reason == "it has neither a body in standard operators nor a plug-in"
    assert placement.op == "tests_tensorrt.cube"


def test_weights_in_fp4_are_refused_where_the_device_lacks_them() -> None:
    program = WeightOnlyQuantization("nvfp4")(to_program(Mlp(), (ROWS["x"],))).program
    orin, thor = resolve("jetson-orin"), resolve("jetson-thor")
    found = orin.lower(program, orin.Options(**orin.device.options)).unsupported
    assert [p.op for p in found] == ["edgeopt.dequantize_blocks"] * 2
    assert found[0].reason == "its weight is in FP4, which 'jetson-orin' lacks: store it in int4"
    assert thor.lower(program, thor.Options(**thor.device.options)).unsupported == ()


def sizes(bound: int | None, stated: str = "") -> tuple[Profile, ...]:
    batch = torch.export.Dim("batch", min=1, max=bound)
    program = to_program(Mlp(), (torch.randn(2, 64),), ({0: batch},))
    target = resolve("jetson")
    assert isinstance(target, TensorRtFamily)
    return target.profiles(program, TensorRtOptions(profile=stated))


def test_a_dynamic_size_without_bound_wants_a_profile() -> None:
    with pytest.raises(UserError) as refused:
        sizes(None)
    assert "input 'x'" in refused.value.message
    assert "has no largest size" in refused.value.message
    assert "--profile x:" in str(refused.value.hint)
    assert sizes(None, "x:1x64:4x64:32x64") == (Profile("x", (1, 64), (4, 64), (32, 64)),)


@pytest.mark.parametrize("wrong", ["x:1x64:4x64:2x64", "x:1x32:4x32:8x32", "y:1x64:4x64:8x64", "x:1x64"])
def test_a_profile_has_to_fit(wrong: str) -> None:
    with pytest.raises(UserError):
        sizes(8, wrong)
