"""Transformers in integers: the C library equals the reference bit by bit, however it is scheduled and fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeopt
from edgeopt.errors import UserError
from edgeopt.ir.program import Program
from edgeopt.ops.linear_attention import linear_attention
from edgeopt.plugins.registry import resolve
from edgeopt.targets.mcu import MicroOptions
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.lower.lower import lower_program
from edgeopt.targets.mcu.nodes.attention import Attention
from edgeopt.targets.mcu.nodes.copy import Copy
from edgeopt.targets.mcu.nodes.generated import Generated
from edgeopt.targets.mcu.nodes.matmul import MatMul
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.norm import Norm
from edgeopt.targets.mcu.nodes.table import Table
from edgeopt.targets.mcu.plan.fuse import fuse_attention, fuse_residuals, split_heads
from edgeopt.targets.mcu.runtime.firmware import Measurement
from samples import digits_vit
from tests.qemu import requires_qemu

from .quantized import firmware_of, quantize

CASES = [
    pytest.param(name, device, marks=[] if device == "host-c" else requires_qemu)
    for name, devices in {
        "vit": ("host-c", "cortex-m0plus", "cortex-m4", "cortex-m55"),
        "class-token": ("host-c", "cortex-m4"),
        "mixer": ("host-c",),
    }.items()
    for device in devices
]


class WithClassToken(digits_vit.DigitsVit):
    """The other way to classify: a token of its own in front of the patches, read at the end; RMS norms."""

    def __init__(self) -> None:
        super().__init__(width=24, heads=2, depth=1)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.norm = nn.RMSNorm(24, eps=1e-6)  # type: ignore[assignment]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2) + self.position
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1)
        return self.classifier(self.norm(self.blocks(tokens))[:, 0])


class Mixer(nn.Module):
    """Tokens mixed by a linear over their positions: transposes that no kernel can stride through."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.over_tokens, self.head = nn.Conv2d(1, 8, 2, 2), nn.Linear(16, 16), nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        mixed = torch.nn.functional.gelu(self.over_tokens(tokens.transpose(1, 2))).transpose(1, 2)
        return self.head(tokens + mixed).mean(1)


class Linear(digits_vit.Attention):
    """Attention linear in the tokens: its normalization is left to TVM, in float."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(linear_attention(query, key, value, "relu").transpose(1, 2).flatten(2))


def with_linear_attention() -> nn.Module:
    module = digits_vit.DigitsVit(width=24, heads=2, depth=1)
    for block in module.blocks:
        block.attention = Linear(24, 2)
    return module


MODELS = {
    "vit": lambda: digits_vit.DigitsVit(width=24, heads=2, depth=2),
    "class-token": WithClassToken,
    "mixer": Mixer,
    "linear-attention": with_linear_attention,
}


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, 8, 8)).astype(np.float32)


@cache
def program(name: str) -> Program:
    torch.manual_seed(0)
    module = MODELS[name]()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return quantize(module, images(8))


@cache
def graph(name: str) -> IntegerGraph:
    lowered, refused = lower_program(program(name))
    assert refused == []
    return lowered


def nodes(lowered: IntegerGraph, kind: type[Node]) -> list[Node]:
    return [node for node in lowered.nodes if isinstance(node, kind)]


def run(name: str, device: str, folder: Path, x: np.ndarray, **options: object) -> Measurement:
    """Export with ``options``, build and run on the device."""
    target = resolve(f"mcu:{device}")
    folder.mkdir()
    target.compile(program(name), folder, MicroOptions(**options))  # type: ignore[arg-type]
    firmware = firmware_of(target, folder)
    try:
        return firmware.run({firmware.network.inputs[0].name: firmware.network.inputs[0].to_int8(x)})
    finally:
        firmware.close()


def expected(name: str, x: np.ndarray) -> np.ndarray:
    """What the integer reference returns for real samples."""
    lowered = graph(name)
    source = lowered.tensors[lowered.inputs[0]]
    q = np.clip(np.round(x / np.float32(source.scale)) + source.zero_point, -128, 127).astype(np.int8)
    return np.stack([lowered.run({source.name: v.transpose(1, 2, 0)})[lowered.outputs[0]] for v in q])


def output(measured: Measurement) -> np.ndarray:
    (y,) = measured.outputs.values()
    return y


def test_moves_cost_nothing_where_kernels_can_stride() -> None:
    assert not nodes(graph("vit"), Copy)
    assert nodes(graph("mixer"), Copy)
    assert len(nodes(graph("vit"), MatMul)) == 4
    assert len(nodes(graph("vit"), Table)) == 2  # one GELU a block


def test_attention_is_one_node_or_one_a_head_and_computes_the_same() -> None:
    lowered = graph("vit")
    fused = fuse_attention(fuse_residuals(lowered))
    heads = split_heads(fused)
    assert len(nodes(fused, Attention)) == 2 and not nodes(fused, MatMul)
    assert len(nodes(heads, Attention)) == 4 and len(nodes(heads, Norm)) == len(nodes(fused, Norm)) + 2
    x = np.random.default_rng(3).integers(-128, 128, (8, 8, 1)).astype(np.int8)
    expected, *got = (g.run({g.inputs[0]: x})[g.outputs[0]] for g in (lowered, fused, heads))
    for values in got:
        np.testing.assert_array_equal(values, expected)


def test_keys_that_are_read_elsewhere_are_not_split() -> None:
    fused = fuse_attention(fuse_residuals(graph("vit")))
    (key, *_) = [node.inputs[1] for node in nodes(fused, Attention)]
    shared = replace(fused, outputs=(*fused.outputs, key))
    assert len(nodes(split_heads(shared), Attention)) == 3


@pytest.mark.parametrize(("name", "device"), CASES)
def test_every_schedule_equals_the_integer_reference(name: str, device: str, tmp_path: Path) -> None:
    x = images(3, seed=2)
    tiles = run(name, device, tmp_path / "tiles", x)
    heads = run(name, device, tmp_path / "heads", x, schedule="heads")
    layers = run(name, device, tmp_path / "layers", x, schedule="layers")
    for measured in (tiles, heads, layers):
        np.testing.assert_array_equal(output(measured), expected(name, x))
    assert heads.arena_bytes < layers.arena_bytes or name == "mixer"
    assert tiles.arena_bytes <= layers.arena_bytes


@pytest.mark.skipif(find_spec("tvm") is None, reason="TVM is not installed")
def test_linear_attention_is_written_out_and_its_quotient_left_to_tvm() -> None:
    lowered = graph("linear-attention")
    assert len(nodes(lowered, MatMul)) == 2 and nodes(lowered, Generated)


@pytest.mark.parametrize("device", ["host-c", pytest.param("cortex-m4", marks=requires_qemu)])
def test_a_streamed_input_gives_the_same_bytes(device: str, tmp_path: Path) -> None:
    x = images(3, seed=2)
    measured = run("vit", device, tmp_path / "streamed", x, stream_input=True)
    np.testing.assert_array_equal(output(measured), expected("vit", x))


@requires_qemu
@pytest.mark.parametrize("schedule", ["heads", "layers"])
def test_the_plan_is_the_measured_high_water_mark(schedule: str, tmp_path: Path) -> None:
    measured = run("vit", "mps2-an386", tmp_path / "out", images(1), schedule=schedule)
    target = resolve("mcu:mps2-an386")
    (tmp_path / "again").mkdir()
    memory = target.compile(program("vit"), tmp_path / "again", MicroOptions(schedule=schedule)).memory
    assert measured.arena_bytes == memory["arena"]
    assert measured.stack_bytes <= memory["stack"]


def test_an_input_that_no_convolution_reads_first_is_not_streamed(tmp_path: Path) -> None:
    linear = quantize(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), images(4))
    with pytest.raises(UserError, match="cannot be streamed: it is read by linear"):
        resolve("mcu:host-c").compile(linear, tmp_path, MicroOptions(stream_input=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_digits_keep_their_accuracy_in_c(trained: Callable[[str], Path], tmp_path: Path) -> None:
    folder = trained("digits_vit")
    exported = edgeopt.export(
        folder / "model.pt2",
        "mcu:host-c",
        tmp_path / "out",
        calib=str(folder / "calib.npz"),
        data=str(folder / "eval.npz"),
        baseline=False,
        max_seconds=0.05,
    )
    assert exported.accuracy is not None
    assert exported.accuracy.exported >= exported.accuracy.original - 0.005
