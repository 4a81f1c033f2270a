"""The openvino target: the contract, and what is particular to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt import onnx
from edgeopt.errors import EdgeoptError, ToolchainMissing, UserError
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract, to_program
from edgeopt.records.layers import Layer
from edgeopt.targets import openvino
from edgeopt.targets.openvino import sdk


class TestOpenVino(TargetContract):
    target = "openvino"


def _program() -> Program:
    return to_program(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 8)), (_image(),))


def _image() -> torch.Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _sample(program: Program) -> dict[str, np.ndarray]:
    return {program.inputs[0].name: _image().numpy()}


def test_float32_is_executed_where_float32_is_asked_for(tmp_path: Path) -> None:
    program, target = _program(), resolve("cpu")
    options = target.Options()
    target.compile(program, tmp_path, options)
    layers = target.open(tmp_path, options).layers(_sample(program), 2)
    assert {layer.precision for layer in layers if layer.type in ("Convolution", "FullyConnected")} == {"fp32"}
    assert any("conv2d" in layer.name for layer in layers)
    assert target.fallbacks(layers, options, {}) == ()


@pytest.mark.skipif("bf16" not in sdk.cpu_precisions(), reason="this CPU has no bfloat16 arithmetic")
def test_bfloat16_is_executed_where_it_is_asked_for(tmp_path: Path) -> None:
    program, target = _program(), resolve("cpu")
    options = target.Options(precision="bf16")
    target.compile(program, tmp_path, options)
    session = target.open(tmp_path, options)
    layers = session.layers(_sample(program), 2)
    assert "bf16" in {layer.precision for layer in layers}
    error = compare(program.run(_sample(program)), session.run(_sample(program)))
    assert 1e-6 < error.relative < 3e-2


def test_bfloat16_is_refused_on_a_cpu_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openvino, "cpu_precisions", lambda: ("fp32",))
    target = resolve("cpu")
    with pytest.raises(UserError, match="does not compute in bf16") as caught:
        target.open(tmp_path, target.Options(precision="bf16"))
    assert caught.value.hint == "choose one of: fp32"


def test_a_layer_in_another_precision_is_a_fallback_with_its_share() -> None:
    target = resolve("cpu")
    layers = (
        Layer("conv", "Convolution", "bf16", 3.0),
        Layer("head", "FullyConnected", "fp32", 1.0),
        Layer("copy", "Reorder", "fp32", 0.0),
    )
    (fallback,) = target.fallbacks(layers, target.Options(precision="bf16"), {})
    assert (fallback.node, fallback.share) == ("head", 0.25)
    assert "fp32" in fallback.reason


def test_under_auto_each_layer_is_held_to_the_format_that_was_chosen_for_it() -> None:
    target = resolve("cpu")
    layers = (
        Layer("conv2d_3,quantize_1", "Convolution", "uint8", 3.0),
        Layer("conv2d_4,relu", "Convolution", "fp32", 2.0),
        Layer("linear/MatMul_0", "FullyConnected", "bf16", 2.0),
        Layer("linear_1", "FullyConnected", "fp32", 2.0),
        Layer("binary_linear", "edgeopt.BinaryLinear, avx2", "fp32", 1.0),
        Layer("scaled_dot_product_attention", "ScaledDotProductAttention", "fp32", 0.0),  # nothing was to choose
    )
    formats = {"conv2d_3": "int8", "conv2d_4": "int8", "linear": "int4", "linear_1": "fp32", "binary_linear": "binary"}
    fallbacks = target.fallbacks(layers, target.Options(precision="auto"), formats)
    assert [(one.node, one.share, one.reason) for one in fallbacks] == [
        ("conv2d_4,relu", 0.2, "OpenVINO runs it in fp32, int8 was asked for"),
        ("linear/MatMul_0", 0.2, "OpenVINO runs it in bf16, int4 was asked for"),
    ]


def test_what_onnx_cannot_say_is_imported_from_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise EdgeoptError("no luck")

    monkeypatch.setattr(onnx, "translate", fail)
    program, target = TargetContract.program(), resolve("cpu")
    options = target.Options()
    assert target.lower(program, options).unsupported == ()
    artifact = target.compile(program, tmp_path, options)
    assert any("no luck" in note for note in artifact.notes)
    session = target.open(tmp_path, options)
    for sample in TargetContract.samples():
        assert compare(program.run(sample), session.run(sample)).relative < 1e-4


def test_what_is_imported_from_torch_bears_the_programs_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise EdgeoptError("no luck")

    monkeypatch.setattr(onnx, "translate", fail)
    program, target = _program(), resolve("cpu")  # torch's front end makes ``convolution`` of ``conv2d``
    target.compile(program, tmp_path, target.Options())
    layers = target.open(tmp_path, target.Options()).layers(_sample(program), 1)
    shown = [name for layer in layers if layer.type in ("Convolution", "FullyConnected") for name in layer.computes]
    assert shown == ["conv2d", "relu", "linear"]


def test_without_openvino_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ToolchainMissing) as caught:
        sdk.openvino()
    assert caught.value.install == "pip install 'edgeopt[openvino]'"


_OFFLINE = """
import socket, sys
def refuse(*args, **kwargs): raise AssertionError("a connection is opened")
socket.socket.connect = refuse
from edgeopt.targets.openvino.sdk import core
core()
assert sys.modules["openvino_telemetry"] is None
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry.")))
"""


def test_openvino_is_imported_without_its_telemetry() -> None:
    run = subprocess.run([sys.executable, "-c", _OFFLINE], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


REDUCED = [(torch.mean, (1, 5, 8), 1), (torch.amax, (2, 6, 4, 8), (0, 1)), (torch.sum, (1, 6, 4, 3, 8), (0, 1))]


@pytest.mark.parametrize("reduce, shape, axes", REDUCED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_channels_scaled_between_a_reduction_and_rounding(tmp_path: Path, reduce: Any, shape: Any, axes: Any) -> None:
    """OpenVINO would give all channels the factor of the first."""

    class Reduced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(0.03))
            self.register_buffer("zero_point", torch.tensor(120, dtype=torch.uint8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = reduce(x, axes)
            channels = found.shape[1]
            factors = torch.linspace(0.2, 2, channels).view(1, channels, *[1] * (found.dim() - 2))
            q = QUANTIZE(found * factors + factors, self.scale, self.zero_point, 0, torch.uint8)
            y: torch.Tensor = DEQUANTIZE(q, self.scale, self.zero_point, 0)
            return y

    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    program, target = to_program(Reduced(), (x,)), resolve("cpu")
    target.compile(program, tmp_path, target.Options(precision="int8"))
    sample = {"x": x.numpy()}
    answered = target.open(tmp_path, target.Options(precision="int8")).run(sample)
    assert compare(program.run(sample), answered).max_abs < 0.031
