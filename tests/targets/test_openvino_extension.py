"""The library of our operators: built once, kept by content, in the bundle, and done without where it must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeopt.errors import EdgeoptError, ToolchainMissing, UserError
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.ops.agent_attention import agent_attention
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.ops.operator import OPERATORS, Operator
from edgeopt.ops.soft_attention import soft_attention
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino import extension
from edgeopt.targets.openvino.native_kernel import NativeKernel
from tests.typed import fixed_shape

from .openvino_kernels import requires_compiler
from .test_openvino_linear_attention import Attention


@pytest.fixture
def program() -> Program:
    return to_program(Attention("relu", "qkvo"), [torch.randn(1, 20, 3, 8) for _ in "qkv"])


def sample(program: Program) -> dict[str, Any]:
    return {spec.name: torch.randn(fixed_shape(spec)).numpy() for spec in program.inputs}


@requires_compiler
def test_the_bundle_holds_the_library_and_the_layer_names_the_kernel(program: Program, tmp_path: Path) -> None:
    target = resolve("cpu")
    options = target.Options()
    artifact = target.compile(program, tmp_path, options)
    assert extension.OWN.name in artifact.files and (tmp_path / extension.OWN.name).is_file()
    assert artifact.fallbacks == () and any("add_extension" in note for note in artifact.notes)
    session, inputs = target.open(tmp_path, options), sample(program)
    assert compare(program.run(inputs), session.run(inputs)).relative < 1e-5
    (layer,) = [layer for layer in session.layers(inputs, 2) if layer.type.startswith("edgeopt.")]
    assert layer.type == f"edgeopt.LinearAttention, {extension.instruction_set()}"
    assert "linear_attention" in layer.name and layer.median is not None


@requires_compiler
def test_a_library_in_a_bundle_is_not_run(program: Program, tmp_path: Path) -> None:
    target = resolve("cpu")
    target.compile(program, tmp_path, target.Options())
    (tmp_path / extension.OWN.name).write_bytes(b"not a library")
    target.open(tmp_path, target.Options()).run(sample(program))


def test_without_a_compiler_the_operator_is_written_out_and_the_report_says_so(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "compiler", lambda: None)
    target = resolve("cpu")
    artifact = target.compile(program, tmp_path, target.Options())
    assert artifact.files == ("model.xml", "model.bin")
    (fallback,) = artifact.fallbacks
    assert fallback.op == "edgeopt.linear_attention" and extension.INSTALL in fallback.reason
    inputs = sample(program)
    assert compare(program.run(inputs), target.open(tmp_path, target.Options()).run(inputs)).relative < 1e-5
    probe = target.probe()
    assert probe.found and extension.INSTALL in str(probe.install)


class WrittenOut(nn.Module):
    """The attentions that no kernel of ours covers."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        agent = agent_attention(q, k, v, [2, 2], [4, 5], 0.35)
        return agent + soft_attention(q, k[:, :, :4], v) + linear_attention(q, k, v, "flow")


def test_attentions_without_a_kernel_are_written_out_and_noted(tmp_path: Path) -> None:
    program = to_program(WrittenOut(), [torch.randn(1, 2, 20, 8) / 2 for _ in "qkv"])
    target = resolve("cpu")
    artifact = target.compile(program, tmp_path, target.Options())
    assert artifact.files == ("model.xml", "model.bin") and artifact.fallbacks == ()
    (note,) = artifact.notes
    assert note.endswith(": agent_attention, soft_attention, linear_attention")
    inputs = sample(program)
    assert compare(program.run(inputs), target.open(tmp_path, target.Options()).run(inputs)).relative < 1e-5


@requires_compiler
def test_what_cannot_be_built_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.cpp").write_text("this is not C++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EdgeoptError, match=r"with status 1: .*broken\.cpp:1:1: error: .*this.$"):
        extension.Extension("broken", tmp_path).library()
    with pytest.raises(EdgeoptError, match=f"there is no C.. for the operators of 'absent' in {tmp_path / 'no'}"):
        extension.Extension("absent", tmp_path / "no").library()
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_the_line_that_installs_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolchainMissing) as caught:
        extension.OWN.library()
    assert caught.value.install == extension.INSTALL


@torch.library.custom_op("edgeopt_tests::tripled", mutates_args=(), tags=(torch.Tag.pointwise,))
def tripled(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@tripled.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Tripled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return tripled(x)


def in_onnx() -> Callable[..., Any]:
    from onnxscript import opset20 as op

    return lambda x: op.Mul(x, op.CastLike(3.0, x))  # type: ignore[type-var]


def bring(
    monkeypatch: pytest.MonkeyPatch, kernel: object, onnx: Callable[[], Callable[..., Any]] | None = None
) -> None:
    operator = Operator("edgeopt_tests::tripled", onnx=onnx, kernels={"openvino": kernel})
    monkeypatch.setitem(OPERATORS, operator.name, operator)


@requires_compiler
def test_without_its_kernel_an_operator_of_others_is_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, target = to_program(Tripled(), [torch.randn(2, 3)]), resolve("cpu")
    bring(monkeypatch, NativeKernel(in_onnx, tmp_path / "absent"), in_onnx)
    artifact = target.compile(program, tmp_path, target.Options())
    (fallback,) = artifact.fallbacks
    assert fallback.reason.startswith("computed by standard operators, not by its kernel: there is no C++ for")
    inputs = sample(program)
    assert compare(program.run(inputs), target.open(tmp_path, target.Options()).run(inputs)).relative < 1e-5
    bring(monkeypatch, NativeKernel(in_onnx, tmp_path / "absent"))
    (refused,) = target.lower(program, target.Options()).unsupported
    assert (
        "ONNX has no translation of this operator; computed" in refused.reason and "there is no C++" in refused.reason
    )


def test_what_an_operator_brings_has_to_be_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    program, target = to_program(Tripled(), [torch.randn(2, 3)]), resolve("cpu")
    bring(monkeypatch, "tripled.cpp", in_onnx)
    with pytest.raises(EdgeoptError, match="'edgeopt_tests::tripled' brings a str for openvino, not a NativeKernel"):
        target.lower(program, target.Options())


@requires_compiler
def test_a_model_of_a_package_that_is_not_installed_is_not_read(program: Program, tmp_path: Path) -> None:
    target = resolve("cpu")
    target.compile(program, tmp_path, target.Options())
    model = tmp_path / "model.xml"
    model.write_text(model.read_text().replace('version="edgeopt"', 'version="theirs"'))
    with pytest.raises(UserError, match=r"OpenVINO does not read model\.xml: .*LinearAttention") as caught:
        target.open(tmp_path, target.Options())
    assert "install the package that defines" in str(caught.value.hint)
