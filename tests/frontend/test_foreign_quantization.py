"""Programs that PT2E or QAT quantized: the same integers in edgeopt's operators, and right on every processor."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt.errors import Unsupported, UserError
from edgeopt.frontend.load import load
from edgeopt.frontend.quantized import define_operators
from edgeopt.ir.metrics import compare_all
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.passes.pipeline import Pipeline
from edgeopt.passes.quantization.insert_qdq import InsertQdq
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.linear import Linear
from tests import saturating

define_operators()
qd = torch.ops.quantized_decomposed
X = torch.rand(1, 8, 12, 12, generator=torch.Generator().manual_seed(1))


class Pt2e(nn.Module):
    """What PT2E makes of a convolution, a rectifier, a mean and a linear: weights use their full range."""

    def __init__(self, dtype: torch.dtype = torch.uint8, levels: int = 255) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.least = torch.iinfo(dtype).min
        self.integers = (self.least, self.least + levels, dtype)
        self.kernel = nn.Buffer(torch.randint(-127, 128, (16, 8, 3, 3), dtype=torch.int8, generator=generator))
        self.kernel_scale = nn.Buffer(torch.rand(16, generator=generator) * 0.002 + 0.001)
        self.zeros = nn.Buffer(torch.zeros(16, dtype=torch.int64))
        self.matrix = nn.Buffer(torch.randint(-127, 128, (10, 16), dtype=torch.int8, generator=generator))
        self.bias = nn.Parameter(torch.randn(16, generator=generator))

    def rounded(self, x: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
        q = qd.quantize_per_tensor(x, scale, self.least + zero, *self.integers)
        y: torch.Tensor = qd.dequantize_per_tensor(q, scale, self.least + zero, *self.integers)
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = qd.dequantize_per_channel(self.kernel, self.kernel_scale, self.zeros, 0, -127, 127, torch.int8)
        matrix = qd.dequantize_per_tensor(self.matrix, 0.005, 0, -127, 127, torch.int8)
        y = nn.functional.conv2d(self.rounded(x, 1 / 255, 0), kernel, self.bias, padding=1)
        pooled = self.rounded(self.rounded(torch.relu(y), 0.02, 0).mean((2, 3)), 0.02, 0)
        return self.rounded(nn.functional.linear(pooled, matrix), 0.05, 128)


class Qat(nn.Module):
    """Fake quantization with constant scales, as it is left after training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(8, 16, 3)
        self.scale = nn.Buffer(torch.tensor([1 / 255]))
        self.zero = nn.Buffer(torch.tensor([0], dtype=torch.int32))
        self.scales = nn.Buffer(self.conv.weight.detach().abs().amax((1, 2, 3)) / 127)
        self.zeros = nn.Buffer(torch.zeros(16, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, 255)
        weight = torch.fake_quantize_per_channel_affine(self.conv.weight, self.scales, self.zeros, 0, -127, 127)
        y = nn.functional.conv2d(x, weight, self.conv.bias)
        return torch.fake_quantize_per_tensor_affine(y, 0.02, 128, 0, 255)


class ComputedScales(Qat):
    """Fake quantization whose scales, zero points and weight are computed of constants."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.scale * 0.5 * 2, torch.zeros(1, dtype=torch.int32), 0, 255)
        weight = self.conv.weight.detach() * 1.5
        scales, zeros = weight.abs().amax((1, 2, 3)) / 127, torch.zeros_like(self.scales, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -127, 127)
        y = nn.functional.conv2d(x, weight, self.conv.bias)
        return torch.fake_quantize_per_tensor_affine(y, 0.03, 128, 0, 255)


MODELS = {
    "uint8": Pt2e,
    "int8": lambda: Pt2e(torch.int8),
    "seven bits": lambda: Pt2e(levels=127),
    "qat": Qat,
    "computed scales": ComputedScales,
}


def program_of(module: nn.Module) -> Program:
    return load(torch.export.export(module.eval(), (X,))).program


def sqnr(expected: np.ndarray, got: np.ndarray) -> float:
    return compare_all([{"output": expected}], [{"output": got}]).sqnr_db or np.inf  # None where they are equal


@pytest.fixture(scope="module", params=MODELS)
def quantized(request: pytest.FixtureRequest) -> tuple[Program, np.ndarray]:
    module = MODELS[request.param]()
    return program_of(module), module(X).detach().numpy()


def test_scales_are_the_same(quantized: Any) -> None:
    program, expected = quantized
    (got,) = program.run({"x": X.numpy()}).values()
    assert sqnr(expected, got) > 60
    targets = {node.target for node in program.calls}
    assert {QUANTIZE, DEQUANTIZE} == {target for target in targets if "quantize" in str(target)}
    assert all(tensor.dtype == torch.int8 for tensor in program.constants.values() if tensor.dim() > 1)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_runtimes_compute_the_integers_rightly(quantized: Any, target: str, tmp_path: Path) -> None:
    program, expected = quantized
    made = passed(program, target)
    (pairs,) = saturating.run(made, {"x": X.numpy()}, saturates=True).values()
    assert sqnr(expected, pairs) > 60
    assert sqnr(expected, artifact(made, target, tmp_path)) > 40


@pytest.mark.parametrize("name", ["uint8", "int8", "qat"])
def test_microcontrollers_compute_the_integers_rightly(name: str, tmp_path: Path) -> None:
    module = MODELS[name]()
    made = passed(program_of(module), "host-c")
    assert sqnr(module(X).detach().numpy(), artifact(made, "host-c", tmp_path)) > 35


def test_microcontrollers_refuse_an_input_of_fewer_integers(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="inputs are quantized"):
        artifact(passed(program_of(MODELS["seven bits"]()), "host-c"), "host-c", tmp_path)


def passed(program: Program, target: str) -> Program:
    """The program after the passes of a target, but for its quantization."""
    chosen = resolve(target)
    steps = [step.build() for step in chosen.pipeline(chosen.Options())]
    return Pipeline([step for step in steps if not isinstance(step, InsertQdq)]).run(program)[0]


def artifact(program: Program, target: str, folder: Path, x: torch.Tensor = X) -> np.ndarray:
    """What the compiled program returns."""
    chosen = resolve(target)
    chosen.compile(program, folder, chosen.Options())
    with closing(chosen.open(folder, chosen.Options())) as session:
        (got,) = session.run({"x": x.numpy()}).values()
    return got


def test_without_the_passes_sums_would_saturate() -> None:
    module = Pt2e()
    (pairs,) = saturating.run(program_of(module), {"x": X.numpy()}, saturates=True).values()
    assert sqnr(module(X).detach().numpy(), pairs) < 40


class AsItRuns(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale, zero = qd.choose_qparams.tensor(x, 0, 255, 1e-6, torch.uint8)
        y: torch.Tensor = qd.dequantize_per_tensor.tensor(
            qd.quantize_per_tensor.tensor(x, scale, zero, 0, 255, torch.uint8), scale, zero, 0, 255, torch.uint8
        )
        return y


class Wide(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = qd.quantize_per_tensor(x, 0.1, 0, -32768, 32767, torch.int16)
        return y


@pytest.mark.parametrize(("module", "reason"), [(AsItRuns(), "running model"), (Wide(), "of int16")])
def test_other_quantization_is_refused(module: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        program_of(module)
    assert "float model" in str(caught.value.hint)


class Long(nn.Module):
    """A linear whose integers are all the largest, and a bias in int32."""

    def __init__(self, inputs: int, bias: int) -> None:
        super().__init__()
        self.matrix = nn.Buffer(torch.full((2, inputs), 127, dtype=torch.int8))
        self.bias = nn.Buffer(torch.full((2,), bias, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = qd.quantize_per_tensor(x, 1 / 255, -128, -128, 127, torch.int8)
        x = qd.dequantize_per_tensor(x, 1 / 255, -128, -128, 127, torch.int8)
        matrix = qd.dequantize_per_tensor(self.matrix, 1e-5, 0, -127, 127, torch.int8)
        bias = qd.dequantize_per_tensor(self.bias, 1e-5 / 255, 0, -(2**31), 2**31 - 1, torch.int32)
        y = qd.quantize_per_tensor(nn.functional.linear(x, matrix, bias), 10.0, 0, -128, 127, torch.int8)
        out: torch.Tensor = qd.dequantize_per_tensor(y, 10.0, 0, -128, 127, torch.int8)
        return out


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_sums_that_leave_32_bits_are_refused(target: str, tmp_path: Path) -> None:
    program = load(torch.export.export(Long(70_000, 0).eval(), (torch.rand(1, 70_000),))).program
    if target == "onnx":
        with pytest.raises(UserError, match=r"sums of up to 22\d{8}, 32 bits hold 2147483647"):
            artifact(passed(program, target), target, tmp_path)
    else:  # its weights saturate, so that they are floats before they could overflow
        assert artifact(passed(program, target), target, tmp_path, torch.ones(1, 70_000)) == pytest.approx(90, rel=0.1)


@pytest.mark.parametrize(("bias", "fits"), [(2**30, True), (2**31 - 1000, False)])
def test_kernels_take_no_bias_beside_which_products_leave_32_bits(bias: int, fits: bool) -> None:
    program = load(torch.export.export(Long(64, bias).eval(), (torch.rand(1, 64),))).program
    graph, _ = lower_program(passed(program, "host-c"))
    assert any(isinstance(node, Linear) for node in graph.nodes) == fits
