"""Program to ONNX: what is written, our operators as functions, names, failures named together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
import torch
from torch import nn

from edgeopt import onnx
from edgeopt.errors import Unsupported
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.ops.operator import OPERATORS, Operator
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program


@torch.library.custom_op("edgeopt::test_scale_relu", mutates_args=())
def scale_relu(x: torch.Tensor, scale: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.where(x > 0, x * scale, x * slope)


@scale_relu.register_fake
def _(x: torch.Tensor, scale: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("edgeopt_tests::twist", mutates_args=())
def twist(x: torch.Tensor) -> torch.Tensor:
    return x.flip(0)


@twist.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def _scale_relu_function() -> Callable[..., Any]:
    from onnxscript import opset20 as op
    from onnxscript import script
    from onnxscript.values import Opset

    @script(Opset("edgeopt", 1))
    def ScaleRelu(x: Any, scale: Any, slope: float) -> object:  # noqa: N802
        zero = op.CastLike(0.0, x)  # type: ignore[type-var]
        return op.Where(op.Greater(x, zero), op.Mul(x, scale), op.Mul(x, slope))

    return ScaleRelu


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    name = "edgeopt::test_scale_relu"
    monkeypatch.setitem(OPERATORS, name, Operator(name, onnx=_scale_relu_function))
    yield


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scale_relu(self.linear(x), self.scale, 0.25)


class _Twisted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twist(torch.sin(twist(x)))


def _scaled() -> tuple[Program, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    return to_program(_Scaled(), (torch.zeros(3, 4),)), {"x": np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)}


def _run(path: Path, inputs: dict[str, np.ndarray], program: Program) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(program.output_names, session.run(None, inputs), strict=True))


def test_an_operator_of_ours_is_a_function_whose_body_runs(registered: None, tmp_path: Path) -> None:
    program, inputs = _scaled()
    onnx.save(onnx.translate(program).model, tmp_path / "model.onnx")
    proto = onnx_package.load(tmp_path / "model.onnx")
    assert [(f.domain, f.name) for f in proto.functions] == [("edgeopt", "ScaleRelu")]
    assert [n.op_type for n in proto.graph.node if n.domain == "edgeopt"] == ["ScaleRelu"]
    assert compare(program.run(inputs), _run(tmp_path / "model.onnx", inputs, program)).relative < 1e-6


def test_a_function_that_is_not_kept_is_inlined(registered: None, tmp_path: Path) -> None:
    program, inputs = _scaled()
    onnx.save(onnx.translate(program, keep=()).model, tmp_path / "model.onnx")
    proto = onnx_package.load(tmp_path / "model.onnx")
    assert not proto.functions
    assert compare(program.run(inputs), _run(tmp_path / "model.onnx", inputs, program)).relative < 1e-6


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_an_operator_of_ours_runs_on_the_targets(registered: None, tmp_path: Path, name: str) -> None:
    program, inputs = _scaled()
    target = resolve(name)
    options = target.Options()
    assert target.lower(program, options).unsupported == ()
    target.compile(program, tmp_path, options)
    assert compare(program.run(inputs), target.open(tmp_path, options).run(inputs)).relative < 1e-6


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_all_operators_without_translation_are_named_at_once(tmp_path: Path, name: str) -> None:
    program = to_program(_Twisted(), (torch.zeros(3, 4),))
    target = resolve(name)
    placements = target.lower(program, target.Options()).unsupported
    assert [(p.node, p.op) for p in placements] == [
        ("twist", "edgeopt_tests.twist"),
        ("twist_1", "edgeopt_tests.twist"),
    ]
    with pytest.raises(Unsupported, match="2 node"):
        target.compile(program, tmp_path, target.Options())
    assert not list(tmp_path.iterdir())


def test_an_output_may_bear_an_inputs_name(tmp_path: Path) -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": x * 2, "mul": x}

    program = to_program(Doubled(), (torch.zeros(3),))
    inputs = {"x": np.arange(3, dtype=np.float32)}
    for name in ("onnx", "openvino"):
        target, folder = resolve(name), tmp_path / name
        folder.mkdir()
        target.compile(program, folder, target.Options())
        outputs = target.open(folder, target.Options()).run(inputs)
        assert list(outputs) == ["x", "mul"]
        np.testing.assert_array_equal(outputs["x"], inputs["x"] * 2)
        np.testing.assert_array_equal(outputs["mul"], inputs["x"])


def test_a_scalar_input_and_an_unused_one(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, factor: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
            return x * factor

    program = to_program(Scaled(), (torch.zeros(3), torch.tensor(2), torch.zeros(2)))
    inputs = {"x": np.ones(3, np.float32), "factor": np.array(3), "unused": np.zeros(2, np.float32)}
    for name in ("onnx", "openvino"):
        target, folder = resolve(name), tmp_path / name
        folder.mkdir()
        target.compile(program, folder, target.Options())
        np.testing.assert_array_equal(target.open(folder, target.Options()).run(inputs)["output"], [3, 3, 3])


def test_large_weights_get_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "EXTERNAL_DATA_ABOVE", 1000)
    program = to_program(nn.Linear(32, 16), (torch.zeros(2, 32),))
    inputs = {program.inputs[0].name: np.ones((2, 32), np.float32)}
    files = onnx.save(onnx.translate(program).model, tmp_path / "model.onnx")
    assert files == ("model.onnx", "model.onnx.data")
    assert (tmp_path / "model.onnx").stat().st_size < 1000 < (tmp_path / "model.onnx.data").stat().st_size
    assert compare(program.run(inputs), _run(tmp_path / "model.onnx", inputs, program)).relative < 1e-6


def test_a_reshape_after_attention_is_translated(tmp_path: Path) -> None:
    """torch.onnx decomposes it to a view that does not fit the strides."""

    class Attention(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            heads = x.view(4, 16, 2, 12).transpose(1, 2)
            out = nn.functional.scaled_dot_product_attention(heads, heads, heads, mask)
            return out.reshape(2, 2, 2, 16, 12).view(4, 2, 16, 12).transpose(1, 2).reshape(4, 16, 24)

    program = to_program(Attention(), (torch.zeros(4, 16, 24), torch.zeros(1, 2, 16, 16)))
    translation = onnx.translate(program)
    assert translation.notes == ()
    onnx.save(translation.model, tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    shapes = {spec.name: spec.shape for spec in program.inputs}
    inputs = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}  # type: ignore[arg-type]
    assert compare(program.run(inputs), _run(tmp_path / "model.onnx", inputs, program)).relative < 1e-5


@pytest.mark.parametrize("padding, ceil", [(0, True), (0, False), (1, True)])
def test_pooling_windows_beyond_the_input_are_fitted(tmp_path: Path, padding: int, ceil: bool) -> None:
    size = 3 if ceil else 2
    pool = nn.AvgPool2d(size, stride=3, padding=padding, ceil_mode=ceil)
    program = to_program(pool, (torch.zeros(1, 2, 2, 2),))
    inputs = {program.inputs[0].name: np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)}
    target = resolve("openvino")
    target.compile(program, tmp_path, target.Options())
    assert compare(program.run(inputs), target.open(tmp_path, target.Options()).run(inputs)).relative < 1e-6


_EXPORT = """
import hashlib, tempfile, pathlib
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import TargetContract
program = TargetContract.program()
for name in ("reference", "onnx", "openvino"):
    target = resolve(name)
    with tempfile.TemporaryDirectory() as folder:
        for file in target.compile(program, pathlib.Path(folder), target.Options()).files:
            print(file, hashlib.sha256((pathlib.Path(folder) / file).read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_and_nothing_to_the_console(tmp_path: Path) -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore::FutureWarning", "-c", _EXPORT], capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.splitlines()) == 4
    assert runs[0].stderr == ""


def test_a_convolution_with_named_padding_is_translated(tmp_path: Path) -> None:
    program = to_program(nn.Conv2d(2, 3, 3, padding="valid"), (torch.zeros(1, 2, 5, 5),))
    inputs = {program.inputs[0].name: np.arange(50, dtype=np.float32).reshape(1, 2, 5, 5)}
    onnx.save(onnx.translate(program).model, tmp_path / "model.onnx")
    assert compare(program.run(inputs), _run(tmp_path / "model.onnx", inputs, program)).relative < 1e-6
