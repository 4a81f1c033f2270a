"""The library of our operators: built once, kept by content, in the bundle, and done without where it must be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeopt.errors import EdgeoptError, ToolchainMissing
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.ops.agent_attention import agent_attention
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.ops.soft_attention import soft_attention
from edgeopt.plugins.registry import resolve
from edgeopt.plugins.testing import to_program
from edgeopt.targets.openvino import extension

from .openvino_kernels import requires_compiler
from .test_openvino_linear_attention import Attention


@pytest.fixture
def program() -> Program:
    return to_program(Attention("relu", "qkvo"), [torch.randn(1, 20, 3, 8) for _ in "qkv"])


def sample(program: Program) -> dict:
    return {spec.name: torch.randn(spec.shape).numpy() for spec in program.inputs}


@requires_compiler
def test_the_bundle_holds_the_library_and_the_layer_names_the_kernel(program: Program, tmp_path: Path) -> None:
    target = resolve("cpu")
    options = target.Options()
    artifact = target.compile(program, tmp_path, options)
    assert extension.NAME in artifact.files and (tmp_path / extension.NAME).is_file()
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
    (tmp_path / extension.NAME).write_bytes(b"not a library")
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
def test_a_changed_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.cpp").write_text("this is not C++")
    monkeypatch.setattr(extension, "SOURCES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    extension.source_digest.cache_clear()
    try:
        with pytest.raises(EdgeoptError, match="this is not C"):
            extension.library()
    finally:
        extension.source_digest.cache_clear()
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_the_line_that_installs_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolchainMissing) as caught:
        extension.library()
    assert caught.value.install == extension.INSTALL
