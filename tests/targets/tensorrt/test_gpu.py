"""The tensorrt target: refused where TensorRT is absent; its own code run against stand-ins where no GPU is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import edgeopt
from edgeopt.errors import EdgeoptError, ToolchainMissing, UserError
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract
from edgeopt.targets.tensorrt.gpu import TensorRt, cuda, sdk
from edgeopt.targets.tensorrt.profiles import Profile
from tests.targets.tensorrt import stand_in_gpu
from tests.targets.tensorrt.models import Mlp

ROWS = {"x": torch.randn(4, 64, generator=torch.Generator().manual_seed(1))}
H200 = sdk.Gpu("NVIDIA H200", "9.0", "1980", "580.1")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_export_says_what_to_install(tmp_path: Path) -> None:
    assert TensorRt.probe().install == "pip install tensorrt"
    with pytest.raises(ToolchainMissing) as missing:
        edgeopt.export(Mlp().eval(), "tensorrt", tmp_path / "out", inputs=ROWS)
    assert "pip install tensorrt" in str(missing.value.hint)
    assert not (tmp_path / "out").exists()


def test_without_a_gpu_the_other_targets_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in_gpu.module())
    monkeypatch.setenv("PATH", "")
    probe = TensorRt.probe()
    assert not probe.found and "jetson and rtx need none" in str(probe.install)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stand-ins for TensorRT, the CUDA runtime and the driver."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", stand_in_gpu.module())
        patch.setattr(cuda, "LIBRARIES", (stand_in_gpu.cuda_runtime(tmp_path_factory.mktemp("cudart")),))
        patch.setattr(sdk, "gpu", lambda: H200)
        yield


@pytest.mark.usefixtures("device")
class TestTensorRt(TargetContract):
    target = "tensorrt"
    options = {"precision": "fp32"}

    @classmethod
    def setup_class(cls) -> None:
        """The stand-ins come first: they are a fixture, which the contract's set-up does not wait for."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _compiled(cls, device: None) -> None:
        super().setup_class()


@pytest.mark.usefixtures("device")
def test_exports_run_and_are_measured(tmp_path: Path) -> None:
    run = edgeopt.export(Mlp().eval(), "tensorrt", tmp_path / "out", inputs=ROWS, precision="fp16", max_seconds=0.1)
    assert run.error is not None and run.error.relative < 2e-3
    assert run.latency is not None and run.latency.median == 0.25 and run.baseline is not None
    assert [(layer.name, layer.type, layer.precision) for layer in run.latency.layers] == [("all", "Myelin", "fp16")]
    assert run.target.hardware == "NVIDIA H200 (1980 MHz, driver 580.1)"
    assert run.versions["tensorrt"] == "10.13.3.9"


@pytest.mark.usefixtures("device")
def test_shapes_may_grow_and_shrink(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(Mlp(), (torch.randn(2, 64),), dynamic_shapes=({0: batch},))
    edgeopt.export(program, "tensorrt", tmp_path / "out", precision="fp32", max_seconds=0.1, baseline=False)
    assert stand_in_gpu.Builder.configs[-1].profiles == [{"x": ((1, 64), (8, 64), (8, 64))}]
    session = resolve("tensorrt").open(tmp_path / "out", resolve("tensorrt").Options())
    for rows in (2, 8, 1):
        x = np.random.default_rng(rows).standard_normal((rows, 64), dtype=np.float32)
        expected = program.module()(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(session.run({"x": x})["output"], expected, atol=1e-5)
    with pytest.raises(UserError, match="does not take input 'x' of shape 9x64"):
        session.run({"x": np.zeros((9, 64), np.float32)})
    session.close()


@pytest.mark.usefixtures("device")
def test_what_tensorrt_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    text = '<ir_version: 9, opset_import: ["" : 19]> g (int32[2] x) => (int32[2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    with pytest.raises(EdgeoptError, match=r"TensorRT does not read the model: .*Relu does not take INT32"):
        sdk.build(tmp_path / "model.onnx", ())
    text = '<ir_version: 9, opset_import: ["" : 19]> g (float[n] x) => (float[n] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    for sizes in [(), (Profile("x", (4,), (2,), (8,)),)]:
        with pytest.raises(EdgeoptError, match="TensorRT does not build the model"):
            sdk.build(tmp_path / "model.onnx", sizes)
    assert sdk.build(tmp_path / "model.onnx", (Profile("x", (1,), (2,), (8,)),))


@pytest.mark.usefixtures("device")
def test_the_gpu_decides_what_may_be_asked_for() -> None:
    target = resolve("tensorrt")
    target.check_options(target.Options(precision="fp8"))
    with pytest.raises(UserError, match="'NVIDIA H200' has no nvfp4: its compute capability is 9"):
        target.check_options(target.Options(precision="nvfp4"))
