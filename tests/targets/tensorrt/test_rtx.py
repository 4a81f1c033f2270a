"""The rtx target: real engines, built without a GPU by TensorRT-RTX where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import edgeopt
from edgeopt.errors import EdgeoptError, UserError
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract
from edgeopt.records.run import Run
from edgeopt.targets.tensorrt.rtx.build import INSTALL, build, versions
from tests.targets.tensorrt.models import LinearVit, Mlp

requires_rtx = pytest.mark.skipif(not versions(), reason=f"TensorRT-RTX is not installed: {INSTALL}")
ROWS = {"x": torch.randn(4, 64, generator=torch.Generator().manual_seed(1))}
SQNR = {"fp32": 100.0, "fp16": 55.0, "int4": 17.0, "fp8": 22.0, "nvfp4": 14.0}
"""Least reference power over error power in dB of two random linears."""


class TestRtx(TargetContract):
    target = "rtx"
    options = {"precision": "fp32"}

    def test_layers_are_named_and_timed(self) -> None:
        """What runs here stands in for the GPU: its layers are not the GPU's."""
        session = self.open()
        assert session.stands_in and session.layers(self.samples()[0], 3) == ()
        session.close()


def export(folder: Path, target: str, model: torch.nn.Module | None = None, **options: Any) -> Run:
    inputs = {"x": torch.randn(1, 3, 8, 8)} if isinstance(model, LinearVit) else ROWS
    return edgeopt.export((model or Mlp()).eval(), target, folder, inputs=inputs, **options)


def deployment(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["deployment"]
    return found


@requires_rtx
@pytest.mark.parametrize(
    ("target", "precision"), [("rtx-30", "fp16"), ("rtx-30", "int4"), ("rtx-40", "fp8"), ("rtx-50", "nvfp4")]
)
def test_engines_of_every_precision(target: str, precision: str, tmp_path: Path) -> None:
    run = export(tmp_path / "out", target, precision=precision)
    assert run.error is not None and run.error.sqnr_db >= SQNR[precision]
    facts = deployment(tmp_path / "out")
    computed = {layer["precision"] for layer in facts["layers"] if layer["op"] in ("Gemm", "MatMul")}
    spelled = {"int4": "fp16 with int4 weights", "nvfp4": "fp16 with fp4 weights"}
    assert computed == {spelled.get(precision, precision)}
    assert facts["opset"] == {"fp16": 19, "int4": 21, "fp8": 19, "nvfp4": 23}[precision]
    assert {layer["type"] for layer in facts["network"]} >= {"matrix_multiply", "activation"}
    assert any(note.startswith("layers in the network: ") and "matrix_multiply" in note for note in run.notes)
    assert (tmp_path / "out" / "model.engine").stat().st_size == run.artifact.memory["engine"]


@requires_rtx
def test_int8_with_our_operator_as_a_body(tmp_path: Path) -> None:
    np.savez(tmp_path / "calib.npz", x=np.random.default_rng(0).standard_normal((8, 3, 8, 8), dtype=np.float32))
    run = export(tmp_path / "out", "rtx-30", LinearVit(), precision="int8", calib=str(tmp_path / "calib.npz"))
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert {domain.domain for domain in model.opset_import} == {""} and not model.functions
    assert run.error is not None and run.error.sqnr_db > 20
    kinds = [layer["type"] for layer in deployment(tmp_path / "out")["network"]]
    assert "quantize" in kinds and "dequantize" in kinds


@requires_rtx
def test_one_engine_for_several_gpus_and_batches(tmp_path: Path) -> None:
    program = torch.export.export(
        Mlp(), (torch.randn(2, 64),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},)
    )
    for name, also in (("one", ""), ("two", "8.9,12.0")):
        edgeopt.export(program, "rtx-30", tmp_path / name, also=also)
    assert deployment(tmp_path / "two")["compute_capabilities"] == ["8.6", "8.9", "12.0"]
    sizes = [(tmp_path / name / "model.engine").stat().st_size for name in ("one", "two")]
    assert sizes[1] > sizes[0]
    (profile,) = deployment(tmp_path / "two")["profiles"]
    assert (profile["least"], profile["largest"]) == ([1, 64], [8, 64])


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("rtx-30", {"precision": "fp8"}, "'rtx-30 (8.6)' has no fp8: its compute capability is 8.6"),
        ("rtx-40", {"precision": "nvfp4"}, "'rtx-40 (8.9)' has no nvfp4: its compute capability is 8.9"),
        ("rtx-50", {"precision": "nvfp4", "also": "8.9"}, "'rtx-50 (8.9)' has no nvfp4"),
        ("rtx-30", {"also": "8.7"}, "TensorRT-RTX does not build for compute capability 8.7"),
    ],
)
def test_refusals_say_why(target: str, options: dict[str, Any], said: str) -> None:
    chosen = resolve(target)
    with pytest.raises(UserError) as refused:
        chosen.check_options(chosen.Options(**options))
    assert said in refused.value.message and refused.value.hint


@requires_rtx
def test_a_model_that_it_does_not_read_is_an_error(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], domain="nowhere")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("nowhere", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(EdgeoptError, match="TensorRT-RTX does not read the model"):
        build(tmp_path / "m.onnx", ["8.6"], ())


@requires_rtx
def test_a_build_that_ends_its_process_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As TensorRT-RTX does where a plug-in is registered."""
    (tmp_path / "worker.py").write_text("import os, sys\nprint('terminate called', file=sys.stderr)\nos.abort()\n")
    monkeypatch.setattr(sys.modules[build.__module__], "WORKER", tmp_path / "worker.py")
    with pytest.raises(EdgeoptError, match="ended with status -6 as it built the model: terminate called"):
        build(tmp_path / "m.onnx", ["8.6"], ())


@pytest.mark.parametrize("target", ["jetson-thor"])
def test_fp4_here_is_what_the_reference_evaluates(target: str, tmp_path: Path) -> None:
    """NVFP4 is dequantized twice in the file; here its constants are unpacked, and nothing else differs."""
    options: dict[str, Any] = {"precision": "nvfp4", "float_precision": "fp32"}
    run = export(tmp_path / "out", target, None, **options)
    assert run.error is not None and run.error.sqnr_db >= SQNR["nvfp4"]
    model = onnx.load(tmp_path / "out" / "model.onnx")
    kinds = [tensor.data_type for tensor in model.graph.initializer]
    assert kinds.count(onnx.TensorProto.FLOAT4E2M1) == kinds.count(onnx.TensorProto.FLOAT8E4M3FN) == 2
    assert [node.op_type for node in model.graph.node].count("DequantizeLinear") == 4
    (expected,) = ReferenceEvaluator(model).run(None, {"x": ROWS["x"].numpy()})
    got = resolve(target).open(tmp_path / "out", resolve(target).Options(**options)).run({"x": ROWS["x"].numpy()})
    np.testing.assert_allclose(got["output"], np.asarray(expected), atol=1e-5)
