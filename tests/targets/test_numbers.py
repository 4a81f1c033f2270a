"""Integers, narrow and wide floats and infinities on ONNX Runtime and OpenVINO: as torch has them, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeopt import export
from edgeopt.deploy.bundle import open_bundle
from edgeopt.errors import Unsupported, UserError
from edgeopt.ir.program import to_numpy
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.target import Artifact
from edgeopt.plugins.testing import to_program
from tests.analysis.integer_model import Integers, integers

Arrays = dict[str, np.ndarray]


class _Of(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[..., object], **buffers: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self, x)


def _run(
    module: nn.Module, inputs: Sequence[torch.Tensor], target: str, folder: Path
) -> tuple[Arrays, Arrays, Artifact]:
    """Return what torch computes, what the target does, and the artifact."""
    program, chosen = to_program(module, tuple(inputs)), resolve(target)
    options = chosen.Options(precision="fp32")
    arrays = {spec.name: to_numpy(value) for spec, value in zip(program.inputs, inputs, strict=True)}
    artifact = chosen.compile(program, folder, options)
    return program.run(arrays), chosen.open(folder, options).run(arrays), artifact


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_operators_of_integers_are_exact(target: str, tmp_path: Path) -> None:
    expected, got, artifact = _run(Integers(), tuple(integers(100).values()), target, tmp_path)
    np.testing.assert_equal(got, expected)
    assert {name: array.dtype for name, array in got.items()} == {n: a.dtype for n, a in expected.items()}
    if target == "openvino":
        assert artifact.facts == {"integer_inputs": {"a": (-256, 256), "b": (-256, 256)}}
        assert "±256" in artifact.notes[0]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_narrow_integers_wrap(target: str, tmp_path: Path) -> None:
    class Narrow(nn.Module):
        def forward(self, u: torch.Tensor, i: torch.Tensor, s: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": u + u, "times": u * 3, "less": u - 100, "doubled": i + i, "minus": -i, "square": s * s}

    inputs = (
        torch.tensor([200, 100, 3, 255], dtype=torch.uint8),
        torch.tensor([100, -100, 5, -128], dtype=torch.int8),
        torch.tensor([300, -200, 5, -32768], dtype=torch.int16),
    )
    expected, got, _ = _run(Narrow(), inputs, target, tmp_path)
    np.testing.assert_equal(got, expected)


def test_integers_beyond_what_openvino_holds_are_refused(tmp_path: Path) -> None:
    module, x = _Of(lambda _, x: x + 1), torch.tensor([5, 2**40])
    expected, got, _ = _run(module, (x,), "onnx", tmp_path)
    np.testing.assert_equal(got, expected)
    with pytest.raises(UserError, match=r"holds numbers from 5 to 1,099,511,627,776"):
        _run(module, (x,), "openvino", tmp_path)
    hashed = _Of(lambda _, x: (x * 1103515245 + 12345) % 2147483648)
    with pytest.raises(Unsupported, match=r"1 node\(s\):\n  mul \(aten.mul.Tensor\).*32 bits"):
        _run(hashed, (x,), "openvino", tmp_path)


def test_masks_and_positions_of_language_models_are_not_refused(tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(120000, 4), nn.Embedding(600, 4)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            places = torch.cumsum(mask, 1) * mask + 1
            total = mask.sum(1, keepdim=True).clamp(min=1)
            return {"y": (self.words(ids) + self.places(places)) * mask[:, :, None] / total[:, :, None]}

    ids, mask = torch.randint(0, 120000, (1, 512)), torch.ones(1, 512, dtype=torch.int64)
    expected, got, artifact = _run(Tokens(), (ids, mask), "openvino", tmp_path)
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-6)
    assert list(artifact.facts["integer_inputs"]) == ["mask"]


@pytest.mark.parametrize("target", ["onnx", "openvino", "jetson"])
def test_bfloat16_is_computed_in_float32(target: str, tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.linear, self.norm = nn.Embedding(10, 8), nn.Linear(8, 4), nn.LayerNorm(8)

        def forward(self, ids: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.linear(nn.functional.silu(self.norm(self.table(ids)))) + x.to(self.linear.weight.dtype)
            return {"y": y, "float": x.float(), "weight": self.linear.weight}

    torch.manual_seed(0)
    module, x = Tokens().bfloat16().eval(), torch.randn(3, 4).bfloat16()
    ids = torch.tensor([[1, 2, 3]])
    rounded, got, artifact = _run(module, (ids, x), target, tmp_path)
    exact = copy.deepcopy(module).float()(ids, x.float())
    np.testing.assert_allclose(got["y"], exact["y"].detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["y"], rounded["y"], rtol=3e-2, atol=3e-2)
    np.testing.assert_array_equal(got["float"], rounded["float"])
    np.testing.assert_array_equal(got["weight"], rounded["weight"])
    assert any("bfloat16" in note for note in artifact.notes)
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {torch.int64, torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("target", ["onnx", "openvino", "jetson"])
def test_models_are_taken_in_float32_where_asked(target: str, dtype: torch.dtype, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).to(dtype).eval()
    program = torch.export.export(net, (torch.randn(1, 3, 4, 4, dtype=dtype),))
    options: dict[str, Any] = {"precision": "fp32"} if target == "jetson" else {}
    run = export(
        program, target=target, output=tmp_path / "out", baseline=False, max_seconds=0.01, float32=True, **options
    )
    name = str(dtype).removeprefix("torch.")
    assert any(f"what is in {name} in the model" in text for text in run.warnings)
    assert run.ok and run.model.inputs == ("input:1x3x4x4:float32",)
    x = np.random.default_rng(1).standard_normal((1, 3, 4, 4)).astype(np.float32)
    (got,) = open_bundle(tmp_path / "out").run({"input": x}).values()
    np.testing.assert_allclose(got, net.float()(torch.from_numpy(x)).detach(), rtol=1e-5, atol=1e-6)


def test_float64_is_computed_as_such_or_refused(tmp_path: Path) -> None:
    seconds = torch.tensor([1.7e9 + 0.123, 1.7e9 + 0.5, 3.25], dtype=torch.float64)
    since = _Of(lambda _, x: x - 1.7e9)
    expected, got, _ = _run(since, (seconds,), "onnx", tmp_path)
    np.testing.assert_array_equal(got["output"], expected["output"])
    with pytest.raises(Unsupported, match=r"sub \(aten.sub.Tensor\): OpenVINO computes float64 in float32"):
        _run(since, (seconds,), "openvino", tmp_path)
    expected, got, _ = _run(_Of(lambda _, x: x.float() * 2), (seconds,), "openvino", tmp_path)
    np.testing.assert_array_equal(got["output"], expected["output"])
    convolution, image = nn.Conv2d(3, 4, 3).double(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(UserError, match="no kernel for Conv of node 'conv2d'"):
        _run(convolution, (image,), "onnx", tmp_path)


def _of_numbers(_: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "product": x * torch.pi,
        "quotient": x / 86400.1,
        "sum": x + 0.1,
        "scaled sum": torch.add(x, x, alpha=0.1),
        "difference": 16777217 - x,
        "clamp": x.clamp(-0.1, 0.6),
        "masked": x.masked_fill(x > 0.5, 0.3),
        "full": torch.full_like(x, 0.1),
        "where": torch.where(x > 0.7, x, 0.1),
        "power": x**0.1,
        "remainder": x % 0.1,
        "lerp": torch.lerp(x, x * 2, 0.1),
        "product of matrices": torch.addmm(x[0], x, torch.eye(3, dtype=torch.float64), beta=0.1, alpha=0.3),
        "celu": torch.celu(-x, 1.1),
        "selu": torch.selu(-x),
        "softplus": nn.functional.softplus(x, beta=1.1),
        "leaky": nn.functional.leaky_relu(-x, 0.1),
        "log10": torch.log10(x),
        "degrees": torch.rad2deg(x),
        "range": torch.arange(0, 0.25, 0.1, dtype=torch.float64) + x,
        "attention": nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], scale=0.3),
    }


def test_float64_inside_is_named_on_openvino(tmp_path: Path) -> None:
    *_, artifact = _run(_Of(lambda _, x: x.double().sum(-1).float()), (torch.randn(2, 8),), "openvino", tmp_path)
    assert any("in float32 what the model computes in float64: sum" in note for note in artifact.notes)
    *_, artifact = _run(_Of(lambda _, x: x.double().float()), (torch.randn(2, 8),), "openvino", tmp_path)
    assert not artifact.notes


def test_an_output_that_is_rounding_error_is_not_compared(tmp_path: Path) -> None:
    program = torch.export.export(_Of(lambda _, x: x - x.bfloat16().float()), (torch.randn(4, 8),))
    run = export(program, target="onnx", output=tmp_path / "out", baseline=False, max_seconds=0.01)
    assert run.verdict == "not compared"
    assert "rounding alone changes it" in (run.outputs[0].reason or "")


def test_numbers_keep_their_digits_in_float64(tmp_path: Path) -> None:
    x = torch.tensor([[0.3123456, 0.7, 1.9]], dtype=torch.float64)
    expected, got, _ = _run(_Of(_of_numbers), (x,), "onnx", tmp_path)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-14, err_msg=name)
    seconds = torch.tensor([[1700000003.0, 1700000005.0, 1700000008.0]], dtype=torch.float64)
    expected, got, _ = _run(_Of(lambda _, x: (x * 0.1 - 170000000).float()), (seconds,), "onnx", tmp_path)
    np.testing.assert_array_equal(got["output"], expected["output"])
    with pytest.raises(Unsupported, match=r"linalg_vector_norm.*stores its number in float32"):
        _run(_Of(lambda _, x: torch.linalg.vector_norm(x, 2.3)), (seconds,), "onnx", tmp_path)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_complex_inputs_are_refused_in_a_sentence(target: str, tmp_path: Path) -> None:
    z = torch.randn(2, 3, dtype=torch.complex64)
    with pytest.raises(Unsupported, match=r"1 node\(s\):\n  x \(an input\): complex numbers do not pass"):
        _run(_Of(lambda _, x: (x * x).abs()), (z,), target, tmp_path)
